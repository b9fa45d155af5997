use super::*;

fn listen(texts: &[&str]) -> Vec<Listen> {
    texts.iter().map(|text| Listen::on(text.parse::<Endpoint>().unwrap())).collect()
}

fn sockets_of(sockets: usize, worker: usize, workers: usize) -> Vec<usize> {
    (0..sockets).filter(|socket| is_mine(*socket, worker, workers, sockets)).collect()
}

#[test]
fn each_worker_has_its_own_socket() {
    for worker in 0..4 {
        assert_eq!(sockets_of(4, worker, 4), [worker]);
    }
}

#[test]
fn every_socket_has_a_worker_when_there_are_fewer() {
    assert_eq!(sockets_of(5, 0, 2), [0, 2, 4]);
    assert_eq!(sockets_of(5, 1, 2), [1, 3]);
    for (sockets, workers) in (1..20).flat_map(|sockets| (1..=sockets).map(move |w| (sockets, w))) {
        let mut all: Vec<usize> =
            (0..workers).flat_map(|worker| sockets_of(sockets, worker, workers)).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..sockets), "{sockets} sockets, {workers} workers");
    }
}

#[test]
fn one_socket_is_shared_by_all() {
    for worker in 0..3 {
        assert_eq!(sockets_of(1, worker, 3), [0]);
    }
}

#[test]
fn a_worker_gets_its_sockets_of_all_addresses_in_the_order_of_the_file() {
    let mut listeners = Listeners::default();
    for (port, sockets) in [(80, vec![1, 2]), (90, vec![3]), (70, vec![4, 5, 6])] {
        let address = ([10, 0, 0, 1], port).into();
        listeners.add(address, address, sockets);
    }
    let listen = listen(&["10.0.0.1:70", "10.0.0.1:80"]);
    let of = |worker| -> Vec<(usize, i32)> {
        listeners.of_worker(&listen, worker, 2).map(|(entry, socket)| (entry, *socket)).collect()
    };
    assert_eq!(of(0), [(0, 4), (0, 6), (1, 1)]);
    assert_eq!(of(1), [(0, 5), (1, 2)]);
}

#[test]
fn what_is_not_wanted_any_more_is_removed_and_the_rest_stays() {
    let mut listeners = Listeners::default();
    for (port, socket) in [(1, 1), (2, 2), (3, 3)] {
        let address = ([10, 0, 0, 1], port).into();
        listeners.add(address, address, vec![socket]);
    }
    let removed = listeners.remove_unwanted(&listen(&["10.0.0.1:4", "10.0.0.1:2"]));
    let sockets = |groups: &[Group<i32>]| -> Vec<i32> {
        groups.iter().flat_map(|group| group.sockets.iter().copied()).collect()
    };
    assert_eq!(sockets(&removed), [3, 1]);
    assert_eq!(sockets(listeners.groups()), [2]);
}

#[test]
fn each_entry_of_port_0_is_another_until_it_is_named() {
    let two = listen(&["127.0.0.1:0", "127.0.0.1:0"]);
    let mut listeners = Listeners::default();
    let chosen = |port| Endpoint::from(([127, 0, 0, 1], port));
    listeners.add(two[0].address, chosen(20_000), vec![1]);
    assert_eq!(listeners.group(&two, 0).map(|group| group.sockets[0]), Some(1));
    assert!(listeners.group(&two, 1).is_none());
    listeners.add(two[0].address, chosen(20_001), vec![2]);
    assert_eq!(listeners.group(&two, 1).map(|group| group.sockets[0]), Some(2));
    let named = listen(&["127.0.0.1:20001", "127.0.0.1:20002"]);
    assert_eq!(listeners.group(&named, 0).map(|group| group.sockets[0]), Some(2));
    assert!(listeners.group(&named, 1).is_none());
    assert_eq!(listeners.remove_unwanted(&two[..1]).len(), 1);
    assert_eq!(listeners.group(&two, 0).map(|group| group.sockets[0]), Some(1));
}

#[test]
fn what_lies_within_a_new_address_is_kept() {
    let mut listeners = Listeners::default();
    for (text, socket) in [("10.0.0.1:80", 1), ("[2001:db8::1]:80", 2), ("10.0.0.1:90", 3)] {
        let address = text.parse().unwrap();
        listeners.add(address, address, vec![socket]);
    }
    let all = listen(&["[::]:80", "10.0.0.1:80"]);
    listeners.add(all[0].address, all[0].address, vec![4]);
    let of: Vec<(usize, i32)> =
        listeners.of_worker(&all, 0, 1).map(|(entry, socket)| (entry, *socket)).collect();
    assert_eq!(of, [(0, 4), (0, 2), (1, 1)]);
    assert_eq!(listeners.remove_unwanted(&all).len(), 1);
    assert_eq!(listeners.remove_unwanted(&listen(&["0.0.0.0:80"])).len(), 2);
    assert_eq!(listeners.groups().len(), 1);
}

#[test]
fn where_we_listen_already_an_address_is_shared_with_ourselves() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert!(!is_ours(address("[::]:80"), []));
    assert!(!is_ours(address("[::]:80"), [address("10.0.0.1:81").into()]));
    assert!(is_ours(address("[::]:80"), [address("10.0.0.1:80").into()]));
}

#[test]
fn a_stored_socket_is_found_again_by_its_name_and_address() {
    let address = "[2001:db8::1]:80".parse().unwrap();
    let name = stored_name(address, 12);
    assert_eq!(name, "[2001_db8__1]_80.12");
    assert_eq!(worker_of(&name), Some(12));
    assert_eq!(worker_of(&stored_name("10.0.0.1:80".parse().unwrap(), 3)), Some(3));
    for name in ["", "httplb.socket", "unknown", "a."] {
        assert_eq!(worker_of(name), None, "{name}");
    }
}

#[test]
fn a_passed_socket_fits_by_its_address() {
    let fits =
        |passed: &str, configured: &str| fits(passed.parse().unwrap(), configured.parse().unwrap());
    assert!(fits("10.0.0.1:80", "10.0.0.1:80"));
    assert!(fits("0.0.0.0:80", "[::]:80"));
    assert!(!fits("10.0.0.1:80", "[::]:80"));
    assert!(!fits("[::]:80", "[::]:81"));
}
