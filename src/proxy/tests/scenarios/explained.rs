//! What `policy/explain` says of a request is what happens to it.

use crate::config::{Config, Pool, Route, RouteTarget, Sticky};
use crate::mem::buffer::Buffer;
use crate::mem::time::Clocks;
use crate::policy::explain::{self, Question};
use crate::policy::health::AdminState;
use crate::proxy::tests::scene::Scene;
use crate::shared::{BackendId, SnapshotReader};
use crate::sys::clock;

/// Three pools of two backends each, by path, by header, and all others.
fn configure(config: &mut Config) {
    config.via = Some("lb".into());
    config.pool_header = Some("X-Pool".into());
    let backends = std::mem::take(&mut config.pools[0].backends);
    config.pools[0].sticky = Some(Sticky::named("s"));
    for (name, place) in [("api", 2), ("named", 4)] {
        let mut pool = Pool { name: name.into(), ..config.pools[0].clone() };
        pool.backends = backends[place..place + 2].to_vec();
        config.pools.push(pool);
    }
    config.pools[0].backends = backends[..2].to_vec();
    config.pools[1].max_body = 5;
    let path = Some(String::from("/api"));
    config.routes.push(Route {
        host: None,
        path,
        headers: Vec::new(),
        target: RouteTarget::Pool(1),
    });
}

/// Asks and explains the same, and compares.
fn compare(scene: &mut Scene, config: &Config, request: &str, fields: &[String], body: &str) {
    let place = format!("{request} {fields:?}");
    let (method, url) = request.split_once(' ').unwrap();
    let client = scene.client();
    let proxy = &scene.service.proxy;
    let own = proxy.downstream.clients().ids().next().and_then(|id| proxy.downstream[id].peer.ip());
    let question = Question {
        method: method.into(),
        url: url.into(),
        fields: fields.to_vec(),
        client: own.expect("the only client"),
    };
    let now = Clocks { clock: clock::now(), wall: clock::wall() };
    let snapshot = SnapshotReader::new(scene.service.proxy.segment(), config, now).snapshot::<()>();
    let pools: Vec<_> = snapshot.pools.iter().map(|pool| pool.to_explain(config)).collect();
    let key = scene.service.proxy.settings.sticky_key;
    let mut scratch = Buffer::new(vec![0; 8192].leak());
    let said = explain::explain(&question, config, &pools, Some(&key), &mut scratch);

    let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let before = scene.asked().len();
    scene.send(client, format!("{request} HTTP/1.1\r\n{lines}\r\n{body}"));
    if let Some(answer) = said.answer {
        assert_eq!(scene.last_error(client).0, answer.status, "{place}");
        assert_eq!(scene.asked().len(), before, "{place}");
    } else {
        let next = said.pool.as_ref().unwrap().backends.iter().find(|one| one.verdict == "next");
        let host = scene.place_of(url).0;
        assert_eq!(next.expect("one is next").backend, format!("10.0.1.{host}:80"), "{place}");
        let head = &scene.request(url).head;
        for line in &said.added_to_request {
            let (name, value) = line.split_once(": ").unwrap();
            let is_it = |field: &&(String, String)| {
                field.0 == name.to_lowercase() && (field.1 == value || name == "X-Request-ID")
            };
            assert!(head.fields.iter().any(|field| is_it(&field)), "{line} {head:?} {place}");
        }
        scene.answer(url, "");
        let message = scene.messages(client).pop().expect("an answer");
        let sets = said.added_to_response.iter().any(|line| line.starts_with("Set-Cookie"));
        assert_eq!(message.head.get("set-cookie").is_some(), sets, "{place}");
    }
    scene.leave(client);
}

#[test]
fn what_is_explained_is_what_happens() {
    let mut config = None;
    let mut scene = Scene::with(
        6,
        |fresh| {
            configure(fresh);
            config = Some(fresh.clone());
        },
        |_| (),
    );
    let config = config.expect("it was configured");
    let marks: Vec<String> = (0..6)
        .map(|host| scene.service.proxy.upstream.backends()[host].tag)
        .map(|tag| String::from_utf8(tag.digits().to_vec()).unwrap())
        .collect();
    let set_admin = |scene: &Scene, host: usize, admin| {
        scene.service.proxy.segment().set_admin(BackendId(host), admin, clock::now().millis());
    };
    let mut number = 0;
    for round in 0..5 {
        match round {
            1 => set_admin(&scene, 0, AdminState::Drain),
            2 => set_admin(&scene, 1, AdminState::Maint),
            3 => set_admin(&scene, 0, AdminState::Maint),
            4 => set_admin(&scene, 0, AdminState::Ready),
            _ => (),
        }
        for (request, fields, body) in [
            ("GET /x", vec![], ""),
            ("GET /api", vec![], ""),
            ("GET /apis", vec![], ""),
            ("POST /api/x", vec!["Content-Length: 5".into()], "hello"),
            ("POST /api/x", vec!["Content-Length: 6".into()], "hello!"),
            ("GET /x", vec!["X-Pool: named".into()], ""),
            ("GET /x", vec!["X-Pool: nobody".into()], ""),
            ("GET /x", vec![format!("Cookie: a=b; s={}", marks[0])], ""),
            ("GET /x", vec![format!("Cookie: s={}; s={}", marks[2], marks[1])], ""),
            ("GET /api", vec![format!("Cookie: s={}", marks[3]), "Via: 1.0 x".into()], ""),
            ("GET /api", vec![format!("Cookie: s={}", marks[0])], ""),
            ("GET /x", vec!["Transfer-Encoding: gzip".into()], ""),
            (
                "GET /x",
                vec!["Expect: wonders".into(), "Connection: X-A".into(), "X-A: b".into()],
                "",
            ),
        ] {
            number += 1;
            let request = format!("{request}?{number}");
            let fields = [vec![String::from("Host: a.example:80")], fields].concat();
            compare(&mut scene, &config, &request, &fields, body);
        }
    }
}
