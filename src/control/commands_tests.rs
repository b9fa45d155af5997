use crate::policy::sticky::{KEY_LEN, Key};
use serde_json::Value;

use super::*;
use crate::config::Config;
use crate::http::Method;
use crate::shared::history::History;
use crate::shared::{BackendGauge, Layout};
use crate::sys::memory;
use crate::sys::world::{self, Faults};

use super::super::api::{AccessLevel, read};
use super::super::request_parser::{After, ApiRequest};

struct Scene {
    commands: Commands,
    segment: Segment,
    /// The master's end of the line.
    channel: Channel,
    clock: Micros,
}

impl Scene {
    /// With one backend, 10.0.1.1:80, in pool "default".
    fn new() -> Scene {
        world::reset(1, Faults::default());
        let config = Config::for_backends(&["10.0.1.1:80".parse().unwrap()]);
        let layout = Layout::new(&config, 2);
        let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
        segment.load_config(&config);
        let (channel, own) = Channel::pair().unwrap();
        let history = History::small(32, 8);
        let viewer = Viewer::new(segment, history, &config, 7);
        let explainer = Explainer::new(&config, Key::new([0; KEY_LEN]));
        let wakers = Wakers::new(2).unwrap();
        let names = NamedBackends::new(segment, &config, None, Micros(0));
        let master = Waker::new().unwrap();
        let commands =
            Commands::new(segment, viewer, explainer, names, None, wakers, (own, master));
        let mut scene = Scene { commands, segment, channel, clock: Micros::from_secs(100) };
        scene.advance(0);
        scene
    }

    fn advance(&mut self, millis: u64) {
        self.clock = self.clock + Micros::from(Millis(millis));
        self.commands.set_now(Clocks { clock: self.clock, wall: Micros::from_secs(1_000_000) });
        self.commands.expire_leases();
    }

    fn answer(&mut self, line: &str, body: &str) -> Option<ApiResponse> {
        let (method, target) = line.split_once(' ').unwrap();
        let request = ApiRequest {
            method: Method::from_name(method.as_bytes()),
            target: target.to_owned(),
            authorization: None,
            body: body.as_bytes().to_vec(),
            after: After::Keep,
        };
        match self.commands.handle(read(AccessLevel::Socket, &request).unwrap()) {
            CommandOutcome::Done(answer) => Some(answer),
            CommandOutcome::Later(_) => None,
        }
    }

    fn ask_with(&mut self, line: &str, body: &str) -> (u16, Value) {
        let answer = self.answer(line, body).expect("an answer at once");
        (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
    }

    fn ask(&mut self, line: &str) -> (u16, Value) {
        self.ask_with(line, "")
    }

    fn status(&mut self, line: &str) -> u16 {
        self.ask(line).0
    }

    fn names(&mut self, pool: &str) -> Vec<String> {
        let (status, json) = self.ask(&format!("GET /v1/pools/{pool}"));
        assert_eq!(status, 200);
        let backends = json["backends"].as_array().unwrap();
        backends.iter().map(|backend| backend["backend"].as_str().unwrap().to_owned()).collect()
    }
}

const SELF: &str = "/v1/pools/api/backends/10.0.1.7:80";
const OF_FILE: &str = "/v1/pools/default/backends/10.0.1.1:80";

#[test]
fn a_backend_registers_and_renews_and_its_pool_is_made() {
    let mut scene = Scene::new();
    assert_eq!(scene.status("GET /v1/pools/api"), 404);
    let (status, json) = scene.ask(&format!("PUT {SELF}?lease=10s&weight=3&max_connections=5"));
    assert_eq!(status, 201);
    assert_eq!(json["backend"], "10.0.1.7:80");
    assert_eq!((&json["state"], &json["source"]), (&"up".into(), &"api".into()));
    assert_eq!((&json["weight"], &json["max_connections"]), (&3.into(), &5.into()));
    assert_eq!(json["lease_s"], 10);
    scene.advance(9_000);
    let (status, json) = scene.ask(&format!("PUT {SELF}?lease=20s"));
    assert_eq!((status, &json["lease_s"], &json["weight"]), (200, &20.into(), &3.into()));
    let (status, json) = scene.ask(&format!("PUT {SELF}?weight=4"));
    assert_eq!((status, &json["lease_s"], &json["weight"]), (200, &20.into(), &4.into()));
    assert_eq!(json["max_connections"], 5);
    assert_eq!(scene.names("api"), ["10.0.1.7:80"]);
    let (_, json) = scene.ask("GET /v1/pools");
    assert_eq!(json["pools"][1]["name"], "api");
}

#[test]
fn a_renewal_changes_what_it_names_and_nothing_else() {
    let mut scene = Scene::new();
    scene.ask(&format!("PUT {SELF}?lease=10s&weight=3&max_connections=5&backup=true&state=drain"));
    let pool = scene.segment.find_pool("api").unwrap();
    let slot = scene.segment.find(pool, "10.0.1.7:80".parse().unwrap()).unwrap();
    let known = |scene: &Scene| {
        let backend = scene.segment.backend(slot);
        (backend.weight(), backend.cap(), backend.is_backup(), json::admin(backend.admin()))
    };
    assert_eq!(known(&scene), (3, 5, true, "drain"));
    scene.advance(2_000);
    for (query, expected) in [
        ("", (3, 5, true, "drain")),
        ("?weight=4", (4, 5, true, "drain")),
        ("?max_connections=0", (4, 0, true, "drain")),
        ("?backup=false", (4, 0, false, "drain")),
        ("?state=ready", (4, 0, false, "ready")),
    ] {
        let (status, json) = scene.ask(&format!("PUT {SELF}{query}"));
        assert_eq!((status, &json["lease_s"]), (200, &8.into()), "{query}");
        assert_eq!(known(&scene), expected, "{query}");
    }
    let (_, json) = scene.ask(&format!("PUT {SELF}?lease=20s"));
    assert_eq!((&json["lease_s"], known(&scene)), (&20.into(), (4, 0, false, "ready")));
}

#[test]
fn a_state_comes_with_its_backend() {
    let mut scene = Scene::new();
    let (status, json) = scene.ask(&format!("PUT {SELF}?state=maint"));
    assert_eq!((status, &json["state"], &json["admin"]), (201, &"maint".into(), &"maint".into()));
    let (_, text) = world::messages().pop().unwrap();
    assert_eq!(text, "pool api: backend 10.0.1.7:80 has registered, and is in maint");
}

#[test]
fn what_an_operator_has_set_stays_over_a_new_registration() {
    let mut scene = Scene::new();
    scene.ask(&format!("PUT {SELF}?lease=1s"));
    scene.ask_with(&format!("PATCH {SELF}"), "{\"state\": \"drain\"}");
    scene.ask_with(&format!("PATCH {SELF}"), "{\"weight\": 7}");
    scene.advance(1_001);
    scene.advance(100);
    assert!(scene.names("api").is_empty());
    let (status, json) = scene.ask(&format!("PUT {SELF}?state=ready&weight=2"));
    assert_eq!((status, &json["admin"], &json["weight"]), (201, &"drain".into(), &7.into()));
    // Also before it was forgotten.
    scene.ask(&format!("DELETE {SELF}"));
    let (status, json) = scene.ask(&format!("PUT {SELF}"));
    assert_eq!((status, &json["admin"]), (201, &"drain".into()));
    // What a renewal names is its own from then on.
    scene.ask(&format!("PUT {SELF}?state=ready"));
    scene.ask(&format!("DELETE {SELF}"));
    let (_, json) = scene.ask(&format!("PUT {SELF}"));
    assert_eq!((&json["admin"], &json["weight"]), (&"ready".into(), &7.into()));
}

#[test]
fn a_lease_that_ends_removes_its_backend() {
    let mut scene = Scene::new();
    scene.ask(&format!("PUT {SELF}?lease=10s"));
    scene.ask("PUT /v1/pools/api/backends/10.0.1.8:80");
    scene.advance(0);
    assert_eq!(scene.commands.next_deadline(), Some(scene.clock + Micros(10_001_000)));
    scene.advance(9_999);
    assert_eq!(scene.names("api").len(), 2);
    scene.advance(2);
    assert_eq!(scene.names("api"), ["10.0.1.8:80"]);
    let (_, text) = world::messages().pop().unwrap();
    assert_eq!(text, "pool api: backend 10.0.1.7:80 is removed: its lease has ended");
    assert_eq!(scene.commands.next_deadline(), None);
    assert_eq!(scene.status(&format!("PUT {SELF}?lease=10s")), 201);
}

#[test]
fn a_backend_is_removed_once_nobody_has_a_request_or_a_connection_there() {
    let mut scene = Scene::new();
    scene.ask(&format!("PUT {SELF}"));
    let pool = scene.segment.find_pool("api").unwrap();
    let slot = scene.segment.find(pool, "10.0.1.7:80".parse().unwrap()).unwrap();
    assert!(scene.segment.claim(0, slot, 0));
    let (status, json) = scene.ask(&format!("DELETE {SELF}"));
    assert_eq!((status, &json["admin"]), (202, &"leaving".into()));
    assert_eq!(scene.status(&format!("DELETE {SELF}")), 404);
    assert_eq!(scene.ask_with(&format!("PATCH {SELF}"), "{\"weight\": 2}").0, 404);
    scene.advance(1_000);
    assert_eq!(scene.names("api").len(), 1);
    scene.segment.worker(0).backend(slot).set(BackendGauge::Idle, 1);
    scene.segment.release(0, slot);
    scene.advance(100);
    assert_eq!(scene.names("api").len(), 1);
    scene.segment.worker(0).backend(slot).set(BackendGauge::Idle, 0);
    scene.advance(100);
    assert!(scene.names("api").is_empty());
}

#[test]
fn who_leaves_may_come_back_before_it_is_gone() {
    let mut scene = Scene::new();
    scene.ask(&format!("PUT {SELF}"));
    let pool = scene.segment.find_pool("api").unwrap();
    let slot = scene.segment.find(pool, "10.0.1.7:80".parse().unwrap()).unwrap();
    assert!(scene.segment.claim(0, slot, 0));
    scene.ask(&format!("DELETE {SELF}"));
    let (status, json) = scene.ask(&format!("PUT {SELF}?weight=3&lease=10s"));
    assert_eq!((status, &json["state"]), (201, &"up".into()));
    assert_eq!((&json["weight"], &json["lease_s"]), (&3.into(), &10.into()));
    assert_eq!(scene.names("api").len(), 1, "it is the same, with the request that it has");
    assert_eq!(json["connections"], 1);
    scene.segment.release(0, slot);
    scene.advance(100);
    assert_eq!(scene.names("api").len(), 1);
}

#[test]
fn nothing_is_changed_that_would_be_forgotten() {
    let mut scene = Scene::new();
    scene.ask(&format!("PUT {SELF}"));
    scene.commands.close();
    assert_eq!(scene.channel.receive().unwrap().text, "closed");
    let changes = [format!("PUT {SELF}"), format!("DELETE {SELF}"), format!("PATCH {SELF}")];
    for line in changes {
        let answer = scene.answer(&line, "{\"state\": \"drain\"}").unwrap();
        assert_eq!((answer.status, answer.fields), (503, "Retry-After: 1\r\n"), "{line}");
    }
    let (status, json) = scene.ask("GET /v1/pools/api");
    assert_eq!((status, &json["backends"][0]["admin"]), (200, &"ready".into()));
}

#[test]
fn what_the_configuration_names_can_be_drained_but_not_removed() {
    let mut scene = Scene::new();
    assert_eq!(scene.status(&format!("PUT {OF_FILE}")), 409);
    assert_eq!(
        scene.status(&format!(
            "PUT {}",
            OF_FILE.replace("10.0", "[::ffff:10.0").replace(":80", "]:80")
        )),
        409
    );
    assert_eq!(scene.status(&format!("DELETE {OF_FILE}")), 409);
    assert_eq!(scene.status("DELETE /v1/pools/default/backends/10.0.1.2:80"), 404);
    assert_eq!(scene.status("DELETE /v1/pools/none/backends/10.0.1.2:80"), 404);
    for (state, shown) in [("drain", "drain"), ("maint", "maint"), ("ready", "up")] {
        let body = format!("{{\"state\": \"{state}\"}}");
        let (status, json) = scene.ask_with(&format!("PATCH {OF_FILE}"), &body);
        assert_eq!((status, &json["state"]), (200, &shown.into()));
        assert_eq!(json["admin"], state);
    }
    let (status, json) = scene.ask_with(&format!("PATCH {OF_FILE}"), "{\"weight\": 256}");
    assert_eq!((status, &json["weight"]), (200, &256.into()));
}

#[test]
fn a_full_table_is_told() {
    let mut scene = Scene::new();
    let mut last = 0;
    for number in 0..300 {
        last = scene.status(&format!("PUT /v1/pools/api/backends/10.1.{}.1:{}", number, 80));
        if last != 201 {
            assert!(number >= 250, "{number}");
            break;
        }
        if number == 254 {
            // Addresses end here; ports go on.
            last = scene.status("PUT /v1/pools/api/backends/10.1.0.1:81");
            let more = scene.status("PUT /v1/pools/api/backends/10.1.0.1:82");
            assert_eq!((last, more), (201, 507));
            last = more;
            break;
        }
    }
    assert_eq!(last, 507);
    assert_eq!(scene.status("PUT /v1/pools/another/backends/10.1.0.1:83"), 507);
    assert_eq!(scene.status("GET /v1/pools/another"), 404, "no pool is made for nobody");
}

#[test]
fn an_emptied_pool_leaves_its_place_to_another() {
    let mut scene = Scene::new();
    for round in 0..3 {
        for number in 0..16 {
            let path = format!("/v1/pools/p{round}-{number}/backends/10.0.1.7:80");
            assert_eq!(scene.status(&format!("PUT {path}")), 201, "{path}");
        }
        assert_eq!(scene.status("PUT /v1/pools/more/backends/10.0.1.7:80"), 507);
        for number in 0..16 {
            let path = format!("/v1/pools/p{round}-{number}/backends/10.0.1.7:80");
            assert_eq!(scene.status(&format!("DELETE {path}")), 202, "{path}");
        }
        scene.advance(1_000);
        assert_eq!(scene.names(&format!("p{round}-0")), [""; 0], "it is shown until then");
    }
    assert_eq!(scene.status("PUT /v1/pools/last/backends/10.0.1.7:80"), 201);
    assert_eq!(scene.status("GET /v1/pools/p2-0"), 404);
    assert_eq!(scene.names("default"), ["10.0.1.1:80"], "that of the file stays");
}

#[test]
fn names_that_a_path_could_mean_something_else_by_name_no_pool() {
    let mut scene = Scene::new();
    for name in ["..", ".", ".api", "%2e%2e", "a%2fb", "a%20b"] {
        let request = ApiRequest {
            method: Method::Put,
            target: format!("/v1/pools/{name}/backends/10.0.1.7:80"),
            authorization: None,
            body: Vec::new(),
            after: After::Keep,
        };
        let refused = read(AccessLevel::Socket, &request).unwrap_err();
        assert_eq!(refused.status, 400, "{name}");
        assert!(refused.body.contains("is not a name for a pool (write"), "{}", refused.body);
    }
    assert_eq!(scene.status("PUT /v1/pools/a..b/backends/10.0.1.7:80"), 201);
}

#[test]
fn a_reload_is_the_masters_and_its_outcome_is_passed_on() {
    let mut scene = Scene::new();
    assert!(scene.answer("POST /v1/reload", "").is_none());
    assert_eq!(scene.channel.receive().unwrap().text, "reload");
    assert_eq!(scene.commands.reload_outcome(), None);
    scene.channel.send("reloaded", None).unwrap();
    assert_eq!(scene.commands.reload_outcome().map(|answer| answer.status), Some(200));
    let why = "refused listen: no\n  workers: \"x\"\n  a doubt\n  a.conf has 2 errors; nothing was \
               changed\n  it ended with status 78";
    scene.channel.send(why, None).unwrap();
    let answer = scene.commands.reload_outcome().unwrap();
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.body,
        "{\"error\":\"a.conf has 2 errors; nothing was changed\",\
         \"errors\":[\"listen: no\",\"workers: \\\"x\\\"\"]}\n"
    );
    scene.channel.send("refused it is too old", None).unwrap();
    let answer = scene.commands.reload_outcome().unwrap();
    assert_eq!(answer.body, "{\"error\":\"it is too old\",\"errors\":[\"it is too old\"]}\n");
}

#[test]
fn health_follows_the_service() {
    let mut scene = Scene::new();
    let text = |scene: &mut Scene| {
        let answer = scene.answer("GET /healthz", "").unwrap();
        (answer.status, answer.body)
    };
    assert_eq!(text(&mut scene), (200, String::from("ok\n")));
    scene.segment.set_service(shared::ServiceCell::Draining, 1);
    assert_eq!(text(&mut scene), (503, String::from("draining\n")));
}

#[test]
fn a_page_that_was_clicked_into_is_not_refreshed_and_another_is() {
    let mut scene = Scene::new();
    let get = |scene: &mut Scene, path: &str| scene.answer(&format!("GET {path}"), "").unwrap();
    let name_of = |page: &ApiResponse| {
        let behind = page.body.split("content=\"2; url=/?window=1m&amp;page=").nth(1).unwrap();
        behind[..16].to_owned()
    };
    let page = get(&mut scene, "/?window=1m");
    let name = name_of(&page);
    assert!(page.body.contains(&format!("url(\"/held?page={name}\")")));
    assert_eq!(get(&mut scene, &format!("/?window=1m&page={name}")).status, 200);
    let image = get(&mut scene, &format!("/held?page={name}"));
    assert_eq!((image.status, image.content_type), (200, "image/svg+xml"));
    let held = get(&mut scene, &format!("/?window=1m&page={name}"));
    assert_eq!((held.status, held.body.as_str()), (204, ""));
    let other = get(&mut scene, "/?window=1m");
    assert!(other.status == 200 && name_of(&other) != name);
    let (other, refreshed) = (name_of(&other), get(&mut scene, "/?window=1m&page=nonsense"));
    assert_eq!(refreshed.status, 200);
    assert_eq!(get(&mut scene, &format!("/?window=1m&page={other}")).status, 200);
}

#[test]
fn the_service_is_shown_in_each_form() {
    let mut scene = Scene::new();
    for (path, part) in [
        ("/", "<title>httplb: 1 of 1 up</title>"),
        ("/metrics", "httplb_pool_backends_up{pool=\"default\"} 1"),
        ("/v1/status", "\"pid\":7,"),
    ] {
        let answer = scene.answer(&format!("GET {path}"), "").unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains(part), "{path}");
    }
}

#[test]
fn a_large_listing_is_given_again_until_a_while_has_passed_or_an_operator_changes_something() {
    let mut scene = Scene::new();
    let count = |scene: &Scene, requests| {
        scene
            .segment
            .worker(0)
            .backend(BackendId(0))
            .add(shared::BackendCounter::Requests, requests);
    };
    // Of a page without its name, which is another each time.
    let get = |scene: &mut Scene, path: &str| {
        let body = scene.answer(&format!("GET {path}"), "").unwrap().body;
        let parts = body.split("page=").enumerate();
        let part = |(place, part): (usize, &str)| part[if place > 0 { 16 } else { 0 }..].to_owned();
        parts.map(part).collect::<String>()
    };
    let all = ["/?window=all", "/metrics", "/v1/pools", "/v1/pools/default"];
    // A small one is always new.
    for path in all {
        let before = get(&mut scene, path);
        count(&scene, 1000);
        assert_ne!(get(&mut scene, path), before, "{path}");
    }
    for number in 0..245 {
        assert_eq!(
            scene.status(&format!(
                "PUT /v1/pools/default/backends/[fd00:1111:2222:3333:4444:5555:6666:{number}]:80"
            )),
            201
        );
    }
    for path in all {
        let before = get(&mut scene, path);
        assert!(before.len() > 64 << 10, "{path}");
        count(&scene, 1000);
        assert_eq!(get(&mut scene, path), before, "{path}");
        // To renew changes nothing that others must see at once.
        assert_eq!(
            scene
                .status("PUT /v1/pools/default/backends/[fd00:1111:2222:3333:4444:5555:6666:9]:80"),
            200
        );
        scene.advance(99);
        assert_eq!(get(&mut scene, path), before, "{path}");
        scene.advance(1);
        let after = get(&mut scene, path);
        assert_ne!(after, before, "{path}");
        for (line, body) in [
            (
                "PATCH /v1/pools/default/backends/[fd00:1111:2222:3333:4444:5555:6666:9]:80",
                "{\"weight\": 7}",
            ),
            (
                "PUT /v1/pools/default/backends/[fd00:1111:2222:3333:4444:5555:6666:9]:80?weight=3",
                "",
            ),
            ("PUT /v1/pools/other/backends/[fd00:1111:2222:3333:4444:5555:6666:9]:80", ""),
            ("DELETE /v1/pools/other/backends/[fd00:1111:2222:3333:4444:5555:6666:9]:80", ""),
        ] {
            count(&scene, 1000);
            let before = get(&mut scene, path);
            count(&scene, 1000);
            assert!([200, 201, 202].contains(&scene.ask_with(line, body).0), "{line}");
            assert_ne!(get(&mut scene, path), before, "{path} after {line}");
        }
        scene.advance(200); // The one that leaves is gone.
    }
}

#[test]
fn without_a_cache_there_is_nothing_to_purge() {
    let mut scene = Scene::new();
    let answer = scene.answer("POST /v1/cache/purge", "{\"url\": \"http://a/\"}").unwrap();
    assert_eq!(answer.status, 404);
}
