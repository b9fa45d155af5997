use super::*;
use crate::config::AUTO_CAP;
use crate::mem::time::Millis;
use crate::shared::Layout;
use crate::shared::fleet::RegistrationChange;
use crate::sys::memory;
use crate::sys::world::{self, Faults};

const OF_FILE: &str = "10.0.1.1:80";
const START: Micros = Micros::from_secs(1000);

struct Scene {
    fleet: Fleet,
    segment: Segment,
    /// The end of the process that holds the watch.
    line: Channel,
    wakers: Wakers,
    now: Micros,
}

fn key(address: &str) -> ServerKey {
    ServerKey { pool: String::from("default"), address: address.parse().unwrap() }
}

fn wish(state: Option<AdminState>, weight: Option<u32>) -> Wish {
    Wish { state, weight, max_connections: None }
}

impl Scene {
    /// With one backend of the file.
    fn new() -> Scene {
        world::reset(1, Faults::default());
        let config = Config::for_backends(&[OF_FILE.parse().unwrap()]);
        let layout = Layout::new(&config, 1);
        let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
        segment.load_config(&config);
        let (line, own) = Channel::pair().unwrap();
        let fleet = Fleet::new(segment, &config, own);
        Scene { fleet, segment, line, wakers: Wakers::new(1).unwrap(), now: START }
    }

    fn tell(&mut self, reports: &[FleetReport]) -> Vec<SettledChange> {
        let mut outbox = Outbox::default();
        reports.iter().for_each(|report| outbox.push(report));
        assert!(outbox.flush(&self.line));
        self.fleet.tend(&self.wakers, self.now)
    }

    fn advance(&mut self, millis: u64) -> Vec<SettledChange> {
        self.now = self.now + Micros::from(Millis(millis));
        self.fleet.tend(&self.wakers, self.now)
    }

    fn snapshot(&mut self, cluster: u64, revision: u64, backends: &[&str]) {
        let mut reports = vec![FleetReport::Begin { cluster, revision }];
        let value = BackendValue::default();
        reports.extend(backends.iter().map(|address| FleetReport::Backend(key(address), value)));
        reports.extend([FleetReport::End, watching()]);
        self.tell(&reports);
    }

    fn commands(&self) -> Vec<FleetCommand> {
        let messages = std::iter::from_fn(|| self.line.receive());
        messages.flat_map(|message| fleet::read(&message.text).collect::<Vec<_>>()).collect()
    }

    fn slot(&self, address: &str) -> Option<BackendId> {
        self.fleet.slot(&key(address))
    }

    fn shown(&self, address: &str) -> Option<(AdminState, u32)> {
        let backend = self.segment.backend(self.slot(address)?);
        Some((backend.admin(), backend.weight()))
    }

    fn register(&mut self, address: &str, weight: u32) -> ChangeId {
        let change = RegistrationChange { weight: Some(weight), ..RegistrationChange::default() };
        self.fleet.change(key(address), FleetChange::Register(change), self.now)
    }
}

fn watching() -> FleetReport {
    let endpoint = String::from("10.9.9.9:2379");
    FleetReport::Link { state: LinkState::Watching, endpoint, error: None }
}

fn lost() -> FleetReport {
    let (endpoint, error) = (String::from("10.9.9.9:2379"), Some(String::from("no leader")));
    FleetReport::Link { state: LinkState::Lost, endpoint, error }
}

fn last_message() -> String {
    world::messages().pop().map(|(_, text)| text).unwrap_or_default()
}

#[test]
fn backends_come_and_go_as_the_registry_says_and_nothing_is_cleared_first() {
    let mut scene = Scene::new();
    scene.snapshot(7, 10, &["10.0.2.1:80", "10.0.2.2:80"]);
    assert_eq!(last_message(), "registry: watching etcd 10.9.9.9:2379, revision 10");
    let (one, other) = (scene.slot("10.0.2.1:80").unwrap(), scene.slot("10.0.2.2:80").unwrap());
    assert_eq!(scene.segment.backend(one).source(), Some(Source::Registry));
    let before = scene.segment.backend(one).standing();
    // The same engine goes on: who is there is not touched, who is missing goes.
    scene.snapshot(7, 12, &["10.0.2.1:80", "10.0.2.3:80"]);
    assert_eq!(scene.segment.backend(one).standing(), before);
    assert_eq!(scene.segment.backend(other).admin(), AdminState::Leaving);
    assert!(scene.slot("10.0.2.3:80").is_some());
    scene.tell(&[FleetReport::Gone(key("10.0.2.1:80")), FleetReport::Gone(key("10.0.2.3:80"))]);
    assert_eq!(scene.slot("10.0.2.1:80"), None, "the last one may go");
    // What the file says literally goes before it.
    let value = BackendValue { weight: 9, ..BackendValue::default() };
    scene.tell(&[FleetReport::Backend(key(OF_FILE), value)]);
    scene.tell(&[FleetReport::Gone(key(OF_FILE))]);
    assert_eq!(scene.shown(OF_FILE), Some((AdminState::Ready, 1)));
}

#[test]
fn what_a_doubtful_snapshot_lacks_stays_for_a_minute() {
    let all = ["10.0.2.1:80", "10.0.2.2:80"];
    for (cluster, revision, found, doubt) in [
        (8, 99, &all[..1], "it is another cluster"),
        (7, 9, &all[..1], "it was restored from an older state"),
        (7, 99, &all[..0], "it has no backends"),
    ] {
        let mut scene = Scene::new();
        scene.snapshot(7, 10, &all);
        scene.snapshot(cluster, revision, found);
        let told = world::messages().into_iter().any(|(_, text)| text.contains(doubt));
        assert!(told, "{doubt}");
        assert!(all.iter().all(|address| scene.slot(address).is_some()), "{doubt}");
        scene.advance(59_000);
        assert!(scene.slot(all[1]).is_some());
        // Who is seen meanwhile is there.
        let seen = FleetReport::Backend(key(all[0]), BackendValue::default());
        scene.tell(&[seen]);
        scene.advance(1_001);
        assert_eq!(scene.slot(all[1]), None, "{doubt}");
        assert!(scene.slot(all[0]).is_some());
    }
}

#[test]
fn who_is_unconfirmed_goes_when_that_is_asked_for() {
    let mut scene = Scene::new();
    scene.snapshot(7, 10, &["10.0.2.1:80", "10.0.2.2:80"]);
    scene.snapshot(8, 1, &[]);
    scene.fleet.change(key("10.0.2.1:80"), FleetChange::Remove, scene.now);
    let settled = scene.tell(&[FleetReport::Done { id: 1, refused: None }]);
    assert_eq!(settled[0].outcome, FleetOutcome::Written);
    assert_eq!(scene.slot("10.0.2.1:80"), None);
    assert!(scene.slot("10.0.2.2:80").is_some());
}

#[test]
fn nothing_is_judged_while_the_engine_is_gone() {
    let mut scene = Scene::new();
    scene.snapshot(7, 10, &["10.0.2.1:80"]);
    scene.snapshot(8, 1, &[]);
    scene.tell(&[lost()]);
    assert_eq!(last_message(), "registry: lost etcd 10.9.9.9:2379 (no leader): 1 backend stays");
    scene.advance(600_000);
    assert!(scene.slot("10.0.2.1:80").is_some());
    assert_eq!(scene.fleet.next_deadline(scene.now), None);
}

#[test]
fn what_operators_want_comes_with_its_backend_and_is_taken_back() {
    let mut scene = Scene::new();
    let drained = wish(Some(AdminState::Drain), Some(9));
    scene.snapshot(7, 10, &[]);
    scene.tell(&[FleetReport::Set(key("10.0.2.1:80"), drained)]);
    let value = BackendValue { weight: 2, ..BackendValue::default() };
    scene.tell(&[FleetReport::Backend(key("10.0.2.1:80"), value)]);
    assert_eq!(scene.shown("10.0.2.1:80"), Some((AdminState::Drain, 9)));
    assert!(last_message().ends_with("has come by the registry, and is in drain"));
    scene.tell(&[FleetReport::Set(key("10.0.2.1:80"), Wish::default())]);
    assert_eq!(scene.shown("10.0.2.1:80"), Some((AdminState::Ready, 2)));
    scene.tell(&[FleetReport::Set(key(OF_FILE), drained)]);
    assert_eq!(scene.shown(OF_FILE), Some((AdminState::Drain, 9)));
    scene.tell(&[FleetReport::Set(key(OF_FILE), wish(Some(AdminState::Maint), None))]);
    assert_eq!(scene.shown(OF_FILE), Some((AdminState::Maint, 1)));
    let limit =
        |scene: &Scene| scene.segment.backend(scene.slot(OF_FILE).unwrap()).max_connections();
    let maint = wish(Some(AdminState::Maint), None);
    let limited = Wish { max_connections: Some(AUTO_CAP), ..maint };
    scene.tell(&[FleetReport::Set(key(OF_FILE), limited)]);
    assert_eq!(limit(&scene), AUTO_CAP);
    assert!(last_message().ends_with("finds its max_connections now"));
    scene.tell(&[FleetReport::Set(key(OF_FILE), Wish::default())]);
    assert_eq!(limit(&scene), 0);
    scene.tell(&[FleetReport::Set(key(OF_FILE), drained)]);
    // A snapshot without it takes it back as well.
    scene.snapshot(7, 11, &["10.0.2.1:80"]);
    assert_eq!(scene.shown(OF_FILE), Some((AdminState::Ready, 1)));
}

#[test]
fn a_change_is_answered_when_the_watch_has_told_of_it() {
    let mut scene = Scene::new();
    scene.snapshot(7, 10, &[]);
    let id = scene.register("10.0.2.1:80", 5);
    assert!(scene.advance(500).is_empty() && scene.slot("10.0.2.1:80").is_none());
    assert!(matches!(&scene.commands()[..], [FleetCommand::Write { id: 1, .. }]));
    let value = BackendValue { weight: 5, ..BackendValue::default() };
    let settled = scene.tell(&[
        FleetReport::Backend(key("10.0.2.1:80"), value),
        FleetReport::Done { id: 1, refused: None },
    ]);
    let [one] = &settled[..] else { panic!("{settled:?}") };
    assert_eq!((one.id, one.is_new, &one.outcome), (id, true, &FleetOutcome::Written));
    assert_eq!(scene.shown("10.0.2.1:80"), Some((AdminState::Ready, 5)));
    scene.register("10.0.2.1:80", 6);
    let refused = Some(String::from("permission denied"));
    let settled = scene.tell(&[FleetReport::Done { id: 2, refused }]);
    let refused = FleetOutcome::Refused(String::from("permission denied"));
    assert_eq!((settled[0].is_new, &settled[0].outcome), (false, &refused));
    assert_eq!(scene.shown("10.0.2.1:80"), Some((AdminState::Ready, 5)));
}

#[test]
fn what_takes_too_long_holds_here_until_it_is_written() {
    let mut scene = Scene::new();
    scene.snapshot(7, 10, &["10.0.2.1:80"]);
    scene.register("10.0.2.2:80", 5);
    scene.fleet.change(key("10.0.2.1:80"), FleetChange::Remove, scene.now);
    assert!(scene.advance(999).is_empty());
    let settled = scene.advance(1);
    assert!(settled.len() == 2 && settled.iter().all(|one| one.outcome == FleetOutcome::Held));
    let slot = scene.slot("10.0.2.2:80").unwrap();
    assert!(scene.segment.held_change(slot).registered && scene.slot("10.0.2.1:80").is_none());
    // The engine is back, and does not know of either.
    scene.tell(&[lost()]);
    scene.snapshot(7, 11, &["10.0.2.1:80"]);
    assert!(scene.slot("10.0.2.2:80").is_some() && scene.slot("10.0.2.1:80").is_none());
    // Another instance has changed it meanwhile: what all know counts once it is written.
    let value = BackendValue { weight: 8, ..BackendValue::default() };
    scene.tell(&[
        FleetReport::Backend(key("10.0.2.2:80"), value),
        FleetReport::Gone(key("10.0.2.1:80")),
    ]);
    assert_eq!(scene.shown("10.0.2.2:80"), Some((AdminState::Ready, 5)));
    let done = |id| FleetReport::Done { id, refused: None };
    assert!(scene.tell(&[done(1), done(2)]).is_empty(), "it was answered before");
    assert_eq!(scene.shown("10.0.2.2:80"), Some((AdminState::Ready, 8)));
    assert_eq!(scene.segment.held_change(slot), Held::default());
    assert_eq!(scene.slot("10.0.2.1:80"), None);
}

#[test]
fn what_finds_no_room_comes_when_others_have_left() {
    let mut scene = Scene::new();
    let all: Vec<String> =
        (0..300).map(|n| format!("10.1.{}.{}:80", n / 200, n % 200 + 1)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    scene.snapshot(7, 3, &all);
    let shown = |scene: &Scene| all.iter().filter(|one| scene.slot(one).is_some()).count();
    assert_eq!(shown(&scene), 256);
    scene.advance(1000);
    assert_eq!(shown(&scene), 256);
    let gone: Vec<FleetReport> = all[..250].iter().map(|one| FleetReport::Gone(key(one))).collect();
    gone.chunks(20).for_each(|some| drop(scene.tell(some)));
    for slot in (0..scene.segment.layout().backends).map(BackendId) {
        scene.segment.forget_if_unused(slot);
    }
    let wait = scene.fleet.next_deadline(scene.now).expect("room is looked for");
    scene.advance((wait - scene.now).0.div_ceil(1000));
    assert_eq!(shown(&scene), 50);
    assert_eq!(scene.fleet.next_deadline(scene.now), None);
}

#[test]
fn another_control_process_goes_on_where_this_one_was() {
    let mut scene = Scene::new();
    scene.snapshot(7, 10, &["10.0.2.1:80"]);
    scene.tell(&[lost()]);
    let lease = Some(Millis(9_000));
    let change = RegistrationChange { lease, ..RegistrationChange::default() };
    scene.fleet.change(key("10.0.2.2:80"), FleetChange::Register(change), scene.now);
    let set = FleetChange::Set(wish(Some(AdminState::Drain), None));
    scene.fleet.change(key("10.0.2.1:80"), set, scene.now);
    scene.advance(0);
    scene.commands();
    let config = Config::for_backends(&[OF_FILE.parse().unwrap()]);
    let (line, own) = Channel::pair().unwrap();
    let mut fleet = Fleet::new(scene.segment, &config, own);
    fleet.adopt();
    scene.line = line;
    let commands = scene.commands();
    let held = |command: &FleetCommand| match command {
        FleetCommand::Write { key, change: FleetChange::Register(change), .. } => {
            key.address == "10.0.2.2:80".parse().unwrap() && change.lease == lease
        }
        FleetCommand::Write { .. } | FleetCommand::Hello => false,
    };
    assert!(commands[0] == FleetCommand::Hello && commands.iter().any(held), "{commands:?}");
    scene.fleet = fleet;
    scene.snapshot(7, 11, &["10.0.2.1:80"]);
    assert!(scene.slot("10.0.2.2:80").is_some(), "it is held");
    assert_eq!(scene.shown("10.0.2.1:80"), Some((AdminState::Drain, 1)), "this too");
}
