//! The scripts: each plays a scene, and returns the notes of it.
use super::Side::{Far, Near};
use super::{BACKLOG, Scene, System, linux};

pub(super) fn connecting<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::empty();
    scene.accept();
    scene.connect(S::address(&scene.listener));
    scene.look();
    scene.receive(Near, 10);
    scene.look();
    scene.send(Near, "hello");
    scene.look();
    scene.accept();
    scene.look();
    scene.look();
    scene.receive(Far, 10);
    scene.receive(Far, 10);
    scene.accept();
    scene.notes
}

pub(super) fn a_refused_connection_fails_at_the_first_call<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::empty();
    let address = S::address(&S::bind(S::unused()).expect("a free port"));
    scene.connect(address);
    scene.look();
    scene.receive(Near, 10);
    scene.receive(Near, 10);
    scene.send(Near, "hello");
    scene.shutdown_write(Near);
    scene.look();
    scene.notes
}

pub(super) fn a_refused_connection_fails_at_the_first_write<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::empty();
    let address = S::address(&S::bind(S::unused()).expect("a free port"));
    scene.connect(address);
    scene.look();
    scene.send(Near, "hello");
    scene.receive(Near, 10);
    scene.look();
    scene.notes
}

pub(super) fn nobody_listens<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::empty();
    let unused = S::unused();
    scene.note("before", S::connect(unused).err());
    let listener = S::bind(unused).expect("a free name");
    scene.note("while", S::connect(unused).is_ok());
    scene.note("twice", S::bind(unused).err());
    scene.note("shared", S::bind_shared(unused).err());
    drop(listener);
    scene.note("afterwards", S::connect(unused).err());
    scene.notes
}

pub(super) fn a_full_queue<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::empty();
    let address = S::address(&scene.listener);
    let mut waiting = Vec::new();
    let refused = loop {
        match S::connect(address) {
            Ok(socket) => waiting.push(socket),
            Err(error) => break error,
        }
    };
    scene.note("more than may wait", waiting.len() as i32 - BACKLOG);
    scene.note("the next one", refused);
    S::send(&waiting[0], [b"hello", &[]]).expect("room");
    let (first, _) = S::accept(&scene.listener).expect("the first");
    scene.far = Some(first);
    let another = S::connect(address);
    scene.note("room for one", another.is_ok());
    scene.note("and not for two", S::connect(address).err());
    drop(waiting);
    scene.note("who has left waits too", S::connect(address).err());
    scene.receive(Far, 10);
    scene.receive(Far, 10);
    scene.notes
}

pub(super) fn addresses_in_use<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::empty();
    let address = S::address(&scene.listener);
    let second = S::bind(address).err();
    scene.note("bind", second);
    let third = S::bind_shared(address).expect("a listener joins another");
    scene.listener = S::bind(S::unused()).expect("a free port");
    let fourth = S::bind(address).err();
    scene.note("bind where one was that shared", fourth);
    drop(third);
    let fifth = S::bind(address).err();
    scene.note("bind where nobody is left", fifth);
    scene.notes
}

pub(super) fn edges_come_with_news_only<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.look();
    scene.send(Near, "one");
    scene.look();
    scene.look();
    scene.send(Near, "two");
    scene.look();
    scene.receive(Far, 2);
    scene.look();
    scene.receive(Far, 10);
    scene.receive(Far, 10);
    scene.look();
    scene.notes
}

pub(super) fn short_reads<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.send(Near, "hello world");
    scene.look();
    scene.receive(Far, 4);
    scene.receive(Far, 7);
    scene.receive(Far, 1);
    scene.send(Near, "bye");
    scene.look();
    scene.receive(Far, 10);
    scene.look();
    scene.notes
}

pub(super) fn an_end_after_bytes<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.send(Far, "last words");
    scene.close(Far);
    scene.look();
    scene.receive(Near, 20);
    scene.look();
    scene.receive(Near, 20);
    scene.receive(Near, 20);
    scene.notes
}

pub(super) fn half_closed<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.shutdown_write(Far);
    scene.look();
    scene.receive(Near, 10);
    scene.look();
    scene.send(Near, "answer");
    scene.look();
    scene.receive(Far, 10);
    scene.receive(Far, 10);
    scene.send(Far, "no");
    scene.close(Near);
    scene.look();
    scene.receive(Far, 10);
    scene.notes
}

pub(super) fn both_ended<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.shutdown_write(Near);
    scene.look();
    scene.shutdown_write(Far);
    scene.look();
    scene.receive(Near, 10);
    scene.receive(Far, 10);
    scene.send(Near, "no");
    scene.send(Far, "no");
    scene.shutdown_write(Near);
    scene.shutdown_write(Far);
    scene.notes
}

pub(super) fn ended_and_written_on<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.shutdown_write(Near);
    scene.send(Near, "no");
    scene.shutdown_write(Near);
    scene.look();
    scene.send(Far, "yes");
    scene.receive(Near, 10);
    scene.notes
}

pub(super) fn closed_and_written_to<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.close(Far);
    scene.look();
    scene.send(Near, "anyone?");
    scene.look();
    scene.receive(Near, 10);
    scene.send(Near, "anyone?");
    scene.look();
    scene.send(Near, "anyone?");
    scene.shutdown_write(Near);
    scene.notes
}

pub(super) fn closed_with_bytes_unread<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.send(Far, "answer");
    scene.send(Near, "unread");
    scene.look();
    scene.close(Far);
    scene.look();
    scene.receive(Near, 10);
    scene.receive(Near, 10);
    scene.receive(Near, 10);
    scene.notes
}

pub(super) fn reset<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.reset(Far);
    scene.look();
    scene.receive(Near, 10);
    scene.receive(Near, 10);
    scene.send(Near, "no");
    scene.shutdown_write(Near);
    scene.look();
    scene.notes
}

pub(super) fn reset_after_bytes<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.send(Far, "some");
    scene.look();
    scene.reset(Far);
    scene.look();
    scene.receive(Near, 2);
    scene.receive(Near, 10);
    scene.receive(Near, 10);
    scene.receive(Near, 10);
    scene.notes
}

pub(super) fn reset_after_the_end<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.shutdown_write(Far);
    scene.look();
    scene.reset(Far);
    scene.look();
    scene.receive(Near, 10);
    scene.send(Near, "no");
    scene.send(Near, "no");
    scene.notes
}

pub(super) fn reset_before_it_was_accepted<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::empty();
    scene.connect(S::address(&scene.listener));
    scene.look();
    scene.send(Near, "hello");
    scene.look();
    scene.reset(Near);
    scene.look();
    let far = S::accept(&scene.listener).expect("it waits there").0;
    scene.far = Some(far);
    scene.receive(Far, 10);
    scene.receive(Far, 10);
    scene.receive(Far, 10);
    scene.notes
}

pub(super) fn room_after_a_full_buffer<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    let right = scene.send_much(Near, Far);
    scene.note("all came", right);
    S::settle();
    let events = S::wait(&mut scene.poller);
    let writable = events.iter().any(|event| event.token == 1 && event.writable);
    scene.note("there is room again", writable);
    scene.send(Near, "more");
    scene.notes
}

pub(super) fn a_listener_is_level_triggered<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::empty();
    scene.connect(S::address(&scene.listener));
    scene.look();
    scene.send(Near, "hello");
    scene.look();
    scene.look();
    S::unwatch_listener(&scene.poller, &scene.listener);
    scene.look();
    S::watch_listener(&scene.poller, &scene.listener, 0);
    scene.look();
    scene.accept();
    scene.look();
    scene.notes
}

pub(super) fn looking_at_what_stays<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    scene.peek(Far, None, 10);
    scene.send(Near, "hello world");
    scene.look();
    scene.peek(Far, None, 5);
    scene.peek(Far, None, 20);
    scene.receive(Far, 6);
    scene.peek(Far, None, 20);
    scene.close(Near);
    scene.look();
    scene.receive(Far, 5);
    scene.peek(Far, None, 20);
    scene.peek(Far, None, 20);
    scene.receive(Far, 5);
    scene.notes
}

pub(super) fn looking_ahead<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    if !linux::Socket::supports_peek_offset() {
        return vec!["not with this kernel".to_owned()];
    }
    scene.peek(Far, Some(3), 10);
    scene.send(Near, "hello world");
    scene.look();
    scene.peek(Far, Some(6), 3);
    scene.peek(Far, Some(9), 10);
    scene.peek(Far, Some(11), 10);
    scene.peek(Far, Some(1000), 10);
    scene.receive(Far, 2);
    scene.peek(Far, Some(0), 3);
    scene.peek(Far, Some(4), 3);
    scene.shutdown_write(Near);
    scene.look();
    scene.peek(Far, Some(9), 3);
    scene.peek(Far, Some(100), 3);
    scene.peek(Far, Some(7), 30);
    scene.receive(Far, 9);
    scene.peek(Far, Some(0), 3);
    scene.receive(Far, 9);
    scene.notes
}

pub(super) fn looking_ahead_of_a_reset<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    if !linux::Socket::supports_peek_offset() {
        return vec!["not with this kernel".to_owned()];
    }
    scene.send(Near, "last words");
    scene.look();
    scene.reset(Near);
    scene.look();
    scene.peek(Far, Some(5), 10);
    scene.peek(Far, Some(10), 10);
    scene.peek(Far, Some(10), 10);
    scene.peek(Far, Some(0), 4);
    scene.receive(Far, 20);
    scene.peek(Far, Some(0), 10);
    scene.receive(Far, 20);
    scene.notes
}

pub(super) fn splicing<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    let mut pipe = S::pipe();
    let mut fill = |scene: &mut Scene<S>| {
        let filled = S::fill(&mut pipe, scene.socket(Far));
        scene.note("fill", filled);
        if filled.is_ok() {
            let drained = S::drain(&mut pipe, scene.socket(Far));
            scene.note("drain", drained);
        }
    };
    fill(&mut scene);
    scene.send(Near, "there and back");
    scene.look();
    fill(&mut scene);
    scene.look();
    scene.receive(Near, 20);
    fill(&mut scene);
    scene.notes
}

pub(super) fn reading_a_pipe<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    let mut pipe = S::pipe();
    scene.send(Near, "eight by");
    scene.look();
    let filled = S::fill(&mut pipe, scene.socket(Far));
    scene.note("fill", filled);
    for (first, second) in [(2, 3), (1, 0), (0, 9)] {
        let (mut first, mut second) = (vec![0; first], vec![0; second]);
        let read = S::read(&mut pipe, [&mut first, &mut second]);
        scene.note("read", (read, first, second));
    }
    let filled = S::fill(&mut pipe, scene.socket(Far));
    scene.note("fill", filled);
    scene.notes
}

pub(super) fn splicing_the_end<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    let mut pipe = S::pipe();
    scene.send(Near, "last");
    scene.shutdown_write(Near);
    scene.look();
    let filled = S::fill(&mut pipe, scene.socket(Far));
    scene.note("fill", filled);
    let drained = S::drain(&mut pipe, scene.socket(Far));
    scene.note("drain", drained);
    let filled = S::fill(&mut pipe, scene.socket(Far));
    scene.note("fill", filled);
    scene.notes
}

pub(super) fn splicing_a_reset<S: System>() -> Vec<String> {
    let mut scene = Scene::<S>::connected();
    let mut pipe = S::pipe();
    scene.reset(Near);
    scene.look();
    let filled = [(); 2].map(|()| S::fill(&mut pipe, scene.socket(Far)));
    scene.note("fill", filled);
    scene.notes
}

pub(super) fn splicing_into_a_broken_connection<S: System>() -> Vec<String> {
    let (mut scene, mut other) = (Scene::<S>::connected(), Scene::<S>::connected());
    let mut pipe = S::pipe();
    scene.send(Near, "for nobody");
    scene.look();
    let filled = S::fill(&mut pipe, scene.socket(Far));
    scene.note("fill", filled);
    other.reset(Far);
    S::settle();
    let drained = [(); 2].map(|()| S::drain(&mut pipe, other.socket(Near)));
    scene.note("drain", drained);
    scene.notes
}

pub(super) fn splicing_into_a_full_connection<S: System>() -> Vec<String> {
    let (mut scene, other) = (Scene::<S>::connected(), Scene::<S>::connected());
    let mut pipe = S::pipe();
    // What the receiver's kernel takes in late makes room once more, perhaps more than once.
    loop {
        while S::send(other.socket(Near), [&[0; 5000], &[]]).is_ok() {}
        S::settle();
        scene.notes.clear();
        scene.send(Near, "no room");
        scene.look();
        let filled = S::fill(&mut pipe, scene.socket(Far));
        scene.note("fill", filled);
        let drained = S::drain(&mut pipe, other.socket(Near));
        scene.note("drain", drained);
        if drained.is_err() {
            return scene.notes;
        }
    }
}
