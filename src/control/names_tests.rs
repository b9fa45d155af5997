use super::*;
use crate::config::{self, Overrides};
use crate::shared::Layout;
use crate::shared::name_report::FamilyReport;
use crate::sys::memory;

const FILE: &str = r#"{
    "backend_servers": [
        {"ip": "10.0.0.9", "port": 80, "weight": 9},
        {"name": "one", "port": 80, "weight": 2, "max_connections": 7},
        {"name": "two", "port": 80, "backup": true},
        {"srv": "_http._tcp.three", "max": 2}
    ],
    "names": {"hold": "30s"}
}"#;

struct Scene {
    names: NamedBackends,
    segment: Segment,
    config: Config,
    wakers: Wakers,
    helper: Channel,
    now: Clocks,
}

fn clocks(seconds: u64) -> Clocks {
    let clock = Micros::from_secs(seconds);
    Clocks { clock, wall: clock + Micros::from_secs(1_000_000) }
}

impl Scene {
    fn new() -> Scene {
        let config = config::load(FILE, &Overrides::default()).unwrap();
        let layout = Layout::new(&config, 1);
        let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
        segment.load_config(&config);
        segment.set_service(ServiceCell::InPlace, 1);
        let (own, helper) = Channel::pair().unwrap();
        let now = clocks(100);
        let names = NamedBackends::new(segment, &config, Some(own), now.clock);
        Scene { names, segment, config, wakers: Wakers::new(1).unwrap(), helper, now }
    }

    /// The helper says of a name: `10.0.0.1` addresses with weights, `?` that it is unknown, `` that
    /// there is nothing.
    fn hear(&mut self, name: usize, four: &str) -> bool {
        let family = match four {
            "" => FamilyReport::Nothing(String::from("none")),
            "?" => FamilyReport::Unknown(String::from("down")),
            some => FamilyReport::Found(some.split(' ').map(entry).collect()),
        };
        let six = match four {
            "?" => FamilyReport::Unknown(String::from("down")),
            _ => FamilyReport::Nothing(String::from("none")),
        };
        let report = NameReport { name, families: [family, six], lifetime: None };
        self.helper.send(&NamesMessage::Answer(report).to_text(), None).unwrap();
        self.names.tend(&self.wakers, self.now)
    }

    fn advance(&mut self, seconds: u64) -> bool {
        self.now = clocks(self.now.clock.0 / 1_000_000 + seconds);
        self.names.tend(&self.wakers, self.now)
    }

    /// The last byte of each backend's address with its source, name, weight and what else there is.
    fn shown(&self) -> Vec<String> {
        let pool = PoolId(0);
        let slots = self.segment.in_order(pool).into_iter();
        let shown = slots.map(|slot| {
            let backend = self.segment.backend(slot);
            let Endpoint::Tcp(address) = backend.address() else { panic!() };
            let host = address
                .to_string()
                .trim_start_matches("10.0.0.")
                .trim_end_matches(":80")
                .to_owned();
            let name = backend.name().map_or(String::new(), |id| format!(" by {}", id.0));
            let backup = if backend.is_backup() { " backup" } else { "" };
            let going = if backend.lease().is_some() { " going" } else { "" };
            let admin = match backend.admin() {
                AdminState::Ready => "",
                AdminState::Leaving => " leaving",
                AdminState::Drain | AdminState::Maint => " other",
            };
            format!("{host}{name} x{}{backup}{going}{admin}", backend.weight())
        });
        shown.collect()
    }

    fn slot(&self, host: u8) -> BackendId {
        let address = ([10, 0, 0, host], 80).into();
        self.segment.find(PoolId(0), address).expect("a backend")
    }
}

/// `1` or, with weight and role of a service's record, `1:5:1`.
fn entry(text: &str) -> (SocketAddr, u32, u8) {
    let numbers: Vec<u32> = text.split(':').map(|number| number.parse().unwrap()).collect();
    let ip = [10, 0, 0, numbers[0] as u8];
    let weight = numbers.get(1).copied().unwrap_or(2);
    ((ip, 80).into(), weight, numbers.get(2).copied().unwrap_or(0) as u8)
}

#[test]
fn what_is_found_is_in_the_cells_in_the_order_of_names_and_addresses() {
    let mut scene = Scene::new();
    assert!(!scene.names.are_known());
    assert!(scene.hear(1, "8:1:1"));
    assert!(scene.hear(0, "3 1 2"));
    assert!(scene.hear(2, "5:256:0 4:7:1"));
    assert!(scene.names.are_known());
    let expected = [
        "9 x9",
        "1 by 0 x2",
        "2 by 0 x2",
        "3 by 0 x2",
        "8 by 1 x1 backup",
        "4 by 2 x7 backup",
        "5 by 2 x256",
    ];
    assert_eq!(scene.shown(), expected);
    assert_eq!(scene.segment.backend(scene.slot(1)).cap(), 7);
    assert!(!scene.hear(0, "1 2 3"), "nothing has changed");
    assert!(scene.hear(2, "5:255:1 4:7:1"));
    assert!(scene.shown().contains(&String::from("5 by 2 x255 backup")));
}

#[test]
fn who_is_named_no_more_leaves_when_the_hold_is_over_or_a_check_has_failed() {
    let mut scene = Scene::new();
    scene.hear(0, "1 2 3");
    scene.hear(0, "1");
    assert_eq!(scene.shown()[1..], ["1 by 0 x2", "2 by 0 x2 going", "3 by 0 x2 going"]);
    // As the checks do with one that is going.
    let now = scene.now.clock.millis();
    scene.segment.set_admin(scene.slot(3), AdminState::Leaving, now);
    scene.advance(1);
    assert!(scene.segment.forget_if_unused(BackendId(3)) || scene.shown().len() == 4);
    scene.advance(28);
    assert_eq!(scene.names.view(scene.now)[0].going.len(), 1);
    assert!(scene.advance(1));
    assert_eq!(scene.shown()[1..3], ["1 by 0 x2", "2 by 0 x2 going leaving"]);
    // Both come again before they were forgotten.
    assert!(scene.hear(0, "1 2 3"));
    assert_eq!(scene.shown()[1..], ["1 by 0 x2", "2 by 0 x2", "3 by 0 x2"]);
}

#[test]
fn an_address_of_several_is_one_backend_of_who_has_the_older_right() {
    let mut scene = Scene::new();
    scene.hear(0, "1 9");
    scene.hear(1, "1:1:1 2:1:1");
    assert_eq!(scene.shown(), ["9 x9", "1 by 0 x2", "2 by 1 x1 backup"]);
    // The second name brings it for as long as it names it, at its own terms.
    scene.hear(0, "");
    assert_eq!(scene.shown(), ["9 x9", "1 by 1 x1 backup", "2 by 1 x1 backup"]);
    scene.advance(31);
    assert_eq!(scene.shown(), ["9 x9", "1 by 1 x1 backup", "2 by 1 x1 backup"]);
}

#[test]
fn another_control_process_goes_on_where_this_one_was() {
    let mut scene = Scene::new();
    scene.hear(0, "1 2");
    scene.hear(0, "1");
    let (own, helper) = Channel::pair().unwrap();
    scene.names = NamedBackends::new(scene.segment, &scene.config, Some(own), scene.now.clock);
    scene.helper = helper;
    assert!(!scene.advance(10));
    assert_eq!(scene.shown()[1..], ["1 by 0 x2", "2 by 0 x2 going"]);
    scene.hear(0, "?");
    scene.advance(100);
    assert_eq!(scene.shown()[1..], ["1 by 0 x2", "2 by 0 x2 going"]);
    scene.hear(0, "1");
    assert_eq!(scene.shown()[1..], ["1 by 0 x2", "2 by 0 x2 going leaving"]);
}

#[test]
fn how_names_stand_and_what_was_counted_outlives_control_processes_and_generations() {
    let mut scene = Scene::new();
    scene.hear(0, "1 2");
    scene.advance(5);
    scene.hear(0, "?");
    scene.hear(1, "?");
    let known = |names: &NamedBackends, now: Clocks| {
        let views = names.view(now).into_iter();
        views.map(|one| (one.status, one.since.0, one.last_found, one.lookups)).collect::<Vec<_>>()
    };
    scene.advance(2);
    let expected = [
        (NameStatus::Unknown, 2000, Some((Millis(7000), clocks(100).wall)), [1, 0, 1]),
        (NameStatus::Unknown, 2000, None, [0, 0, 1]),
        (NameStatus::Never, 7000, None, [0, 0, 0]),
    ];
    assert_eq!(known(&scene.names, scene.now), expected);
    let again = NamedBackends::new(scene.segment, &scene.config, None, clocks(100).clock);
    assert_eq!(known(&again, scene.now), expected, "another control process");

    let next = Scene::new();
    let records = scene.segment.collect_names(&scene.config);
    next.segment.restore_names(&next.config, &records);
    let generation = NamedBackends::new(next.segment, &next.config, None, clocks(100).clock);
    assert_eq!(known(&generation, scene.now), expected, "another generation");
    // Both look names up until the older one has gone: nothing is counted twice, or forgotten.
    let found = NameStanding { status: NameStatus::Found, since: scene.now.clock, found: None };
    next.segment.name(NameId(0)).note_lookup(found);
    scene.hear(0, "");
    let records = scene.segment.collect_names(&scene.config);
    next.segment.restore_names(&next.config, &records);
    assert_eq!(next.segment.name(NameId(0)).lookups(), [2, 1, 1]);
    assert_eq!(next.segment.name(NameId(0)).standing().unwrap().status, NameStatus::Found);
    // Another pool's name is another one.
    let text = FILE.replace("\"names\": {", "\"pools\": {\"p\": {\"backend_servers\": [{\"name\": \"one\", \"port\": 80}]}}, \"names\": {");
    let config = config::load(&text, &Overrides::default()).unwrap();
    let layout = Layout::new(&config, 1);
    let mut other = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    other.load_config(&config);
    other.restore_names(&config, &records);
    assert!(
        other.name(NameId(0)).standing().is_some() && other.name(NameId(3)).standing().is_none()
    );
}

#[test]
fn what_was_stored_is_used_only_where_nothing_is_known() {
    let mut scene = Scene::new();
    let stored = |name, hosts: &str| {
        let found = FamilyReport::Found(hosts.split(' ').map(entry).collect());
        let families = [found, FamilyReport::Nothing(String::new())];
        NamesMessage::Stored(NameReport { name, families, lifetime: None }).to_text()
    };
    for (name, hosts) in [(0, "1 2"), (1, "3"), (2, "4 5 6")] {
        scene.helper.send(&stored(name, hosts), None).unwrap();
    }
    scene.hear(0, "?");
    scene.hear(1, "");
    assert_eq!(scene.shown()[1..], ["1 by 0 x2", "2 by 0 x2"]);
    scene.names.use_stored(&scene.wakers, scene.now);
    assert_eq!(scene.shown()[3..], ["4 by 2 x2", "5 by 2 x2"], "no more than its max");
    let view = scene.names.view(scene.now);
    let status: Vec<&str> = view.iter().map(|name| name.status.as_str()).collect();
    assert_eq!(status, ["unknown", "nothing", "never"]);
    let trouble: Vec<String> = view.iter().filter_map(NameView::trouble).collect();
    assert_eq!(
        trouble,
        [
            "one was never looked up: down",
            "two has no address: none",
            "_http._tcp.three was never looked up: no answer yet"
        ]
    );
}

#[test]
fn what_an_operator_has_set_stays_until_the_name_says_something_else() {
    let mut scene = Scene::new();
    scene.hear(2, "4:5:0");
    let slot = scene.slot(4);
    scene.segment.set_weight(slot, 9);
    scene.segment.set_admin(slot, AdminState::Drain, scene.now.clock.millis());
    assert!(!scene.hear(2, "4:5:0"));
    assert_eq!(scene.shown()[1], "4 by 2 x9 other");
    scene.hear(2, "4:6:0");
    assert_eq!(scene.shown()[1], "4 by 2 x6 other");
}

#[test]
fn a_helper_hangs_that_is_silent_for_ten_seconds_and_no_stranger_is_believed() {
    let mut scene = Scene::new();
    for _ in 0..9 {
        assert!(!scene.names.hangs());
    }
    scene.helper.send(&NamesMessage::Beat.to_text(), None).unwrap();
    scene.advance(1);
    assert_eq!((0..10).filter(|_| scene.names.hangs()).count(), 1);
    for text in ["nonsense", "{}", &NamesMessage::Answer(NameReport::unknown(99, "")).to_text()] {
        scene.helper.send(text, None).unwrap();
    }
    assert!(!scene.advance(1));
    assert_eq!(scene.shown(), ["9 x9"]);
}
