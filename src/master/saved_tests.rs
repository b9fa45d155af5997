use super::*;
use crate::config::Config;
use crate::policy::health::AdminState;
use crate::shared::{Layout, Registration};
use crate::sys::memory;
use crate::sys::world::{self, Faults};

const NOW: Micros = Micros::from_secs(1_000);
const WALL: Micros = Micros::from_secs(1_700_000_000);

fn cells() -> (Segment, Config) {
    world::reset(1, Faults::default());
    let config = Config::for_backends(&["10.0.1.1:80".parse().unwrap()]);
    let layout = Layout::new(&config, 1);
    let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    segment.load_config(&config);
    (segment, config)
}

struct Scene {
    folder: PathBuf,
    segment: Segment,
    config: Config,
    saved: SavedBackends,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let folder = std::env::temp_dir().join(format!("httplb-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let saved = SavedBackends::at(Some(folder.join(FILE)), false);
        let (segment, config) = cells();
        Scene { folder, segment, config, saved }
    }

    fn register(&self, host: u8, lease: Option<Millis>) -> crate::shared::BackendId {
        let pool = self.segment.find_pool("api").or_else(|| self.segment.add_pool("api")).unwrap();
        let entry = Registration::at(([10, 0, 2, host], 80).into());
        let entry = Registration { weight: 3, lease, backup: true, ..entry };
        self.segment.register(pool, entry).unwrap()
    }

    fn write(&mut self, now: Micros) -> bool {
        let cells = (self.segment, &self.config);
        self.saved.write(cells, now, WALL + (now - NOW), false)
    }

    /// What a service knows that starts so long after `NOW`.
    fn restart(&self, after: Micros) -> Vec<BackendRecord> {
        self.saved.read(Millis(0), WALL + after).backends
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn who_has_registered_is_known_after_a_restart_with_what_is_left_of_the_lease() {
    let mut scene = Scene::new("saved-leases");
    let slot = scene.register(1, Some(NOW.millis() + Millis(60_000)));
    scene.register(2, Some(NOW.millis() + Millis(1_000)));
    scene.register(3, None);
    scene.segment.set_admin(slot, AdminState::Drain, NOW.millis());
    let wish = Wish { state: Some(AdminState::Drain), ..Wish::default() };
    scene.segment.set_wish(slot, wish);
    assert!(!scene.write(NOW));
    for (after, left) in [(0, 60_000), (20_000, 40_000), (55_000, 10_000), (900_000, 10_000)] {
        let known = scene.restart(Micros(after * 1000));
        let leases: Vec<_> = known.iter().map(lease).collect();
        let expected = [Some(Millis(left)), Some(Millis(10_000)), None];
        assert_eq!(leases, expected, "after {after} ms");
    }
    // A clock that is set back makes no lease longer.
    assert_eq!(lease(&scene.saved.read(Millis(0), Micros(0)).backends[0]), Some(Millis(60_000)));
    let known = scene.restart(Micros(0));
    let (segment, config) = cells();
    backend_state::take_over(segment, &config, &known, Millis(0));
    let pool = segment.find_pool("api").unwrap();
    let slot = segment.members(pool).next().unwrap();
    let backend = segment.backend(slot);
    assert_eq!((backend.weight(), backend.is_backup()), (3, true));
    assert_eq!((backend.admin(), segment.wish(slot)), (AdminState::Drain, wish));
    assert_eq!(segment.members(pool).count(), 3);
}

#[test]
fn what_operators_have_set_of_those_who_left_is_known_too() {
    let mut scene = Scene::new("saved-left");
    let slot = scene.register(1, None);
    scene.segment.set_wish(
        slot,
        Wish { state: Some(AdminState::Maint), weight: Some(9), ..Wish::default() },
    );
    scene.segment.set_admin(slot, AdminState::Leaving, NOW.millis());
    world::advance(NOW.millis());
    assert!(scene.segment.forget_if_unused(slot));
    scene.write(NOW);
    let hours = Micros::from_secs(2 * 3_600);
    assert_eq!(scene.saved.read(Millis(0), WALL + hours).left.len(), 0);
    let Saved { backends, left, .. } = scene.saved.read(Millis(5), WALL);
    assert!(backends.is_empty() && left.len() == 1);
    let (segment, _) = cells();
    segment.restore_left(&left[0], Millis(5));
    let pool = segment.add_pool("api").unwrap();
    let slot = segment.register(pool, Registration::at(([10, 0, 2, 1], 80).into())).unwrap();
    assert_eq!(
        (segment.backend(slot).admin(), segment.backend(slot).weight()),
        (AdminState::Maint, 9)
    );
}

#[test]
fn a_change_is_written_soon_and_a_renewal_within_ten_seconds() {
    let mut scene = Scene::new("saved-times");
    let slot = scene.register(1, Some(Millis(2_000_000)));
    assert!(!scene.write(NOW));
    assert_eq!(scene.saved.next_deadline(), Some(NOW + Micros::from_secs(10)));
    scene.register(2, None);
    assert!(scene.write(NOW + Micros(199_000)), "too soon");
    assert_eq!(scene.restart(Micros(0)).len(), 1);
    assert!(!scene.write(NOW + Micros(200_000)));
    assert_eq!(scene.restart(Micros(0)).len(), 2);
    let before = scene.restart(Micros(0));
    scene.segment.set_lease(slot, Some(Millis(3_000_000)));
    assert!(!scene.write(NOW + Micros(9_000_000)));
    assert_eq!(scene.restart(Micros(0)), before);
    let later = NOW + Micros(10_200_000);
    assert!(scene.saved.next_deadline() <= Some(later + Micros::from_secs(10)));
    scene.write(later);
    assert_ne!(scene.restart(Micros(0)), before);
    // The last time is not waited for.
    scene.segment.set_lease(slot, None);
    assert!(!scene.saved.write((scene.segment, &scene.config), later, WALL, true));
    assert_eq!(lease(&scene.restart(Micros(0))[0]), None);
}

#[test]
fn without_registrations_there_is_no_file_and_those_that_left_are_not_in_it() {
    let mut scene = Scene::new("saved-empty");
    scene.write(NOW);
    assert!(!scene.folder.join(FILE).exists());
    assert_eq!(scene.saved.next_deadline(), None);
    let slot = scene.register(1, None);
    scene.write(NOW);
    scene.segment.set_admin(slot, AdminState::Leaving, NOW.millis());
    scene.write(NOW + PAUSE);
    assert!(scene.folder.join(FILE).exists() && scene.restart(Micros(0)).is_empty());
}

#[test]
fn a_file_that_cannot_be_used_is_told_of_and_stops_nothing() {
    let mut scene = Scene::new("saved-broken");
    let path = scene.folder.join(FILE);
    let pool = "{\"format\":1,\"saved_ms\":0,\"backends\":[{\"pool\":\"../x\",\"backend\":\"10.0.0.1:80\",\
                \"weight\":1,\"max_connections\":0,\"state\":\"ready\",\"lease_ms\":null}]}";
    for (text, why) in [
        ("", "EOF while parsing a value"),
        ("{\"format\":2,\"saved_ms\":0,\"backends\":[]}", "format 2 is not known, only 1"),
        (pool, "\"../x\" is not a name for a pool"),
    ] {
        fs::write(&path, text).unwrap();
        assert!(scene.restart(Micros(0)).is_empty());
        let (_, message) = world::messages().pop().unwrap();
        assert!(message.contains(why) && message.contains("it is kept as"), "{message}");
        assert_eq!(fs::read_to_string(scene.folder.join("registered.json.bad")).unwrap(), text);
    }
    // One that is not there is none of these.
    assert!(!path.exists());
    let count = world::messages().len();
    assert!(scene.restart(Micros(0)).is_empty());
    fs::remove_dir_all(&scene.folder).unwrap();
    scene.register(1, None);
    scene.write(NOW);
    scene.register(2, None);
    scene.write(NOW + PAUSE);
    assert_eq!(world::messages().len(), count + 1, "told once");
}

#[test]
fn what_the_registry_has_is_in_a_file_of_its_own() {
    let mut scene = Scene::new("saved-registry");
    scene.config.registry = Some(crate::config::Registry::default());
    let path = scene.folder.join(REGISTRY_FILE);
    let mut shared = SavedBackends::at(Some(path), true);
    scene.register(1, None);
    let pool = scene.segment.find_pool("api").unwrap();
    let entry = Registration { is_shared: true, ..Registration::at(([10, 0, 2, 2], 80).into()) };
    scene.segment.register(pool, entry).unwrap();
    // Of the file's, what the fleet wants.
    let wish = Wish { weight: Some(9), ..Wish::default() };
    scene.segment.set_wish(crate::shared::BackendId(0), wish);
    let gone = ([10, 0, 2, 3], 80).into();
    scene.segment.remember_left("api", gone, wish, LeftBackend::FOR_EVER);
    let progress = RegistryProgress { cluster: 7, revision: 8, events: 9 };
    scene.segment.set_registry_progress(progress);
    scene.write(NOW);
    shared.write((scene.segment, &scene.config), NOW, WALL, false);
    assert_eq!(scene.restart(Micros(0)).len(), 1);
    let saved = shared.read(Millis(0), WALL + Micros::from_secs(1_000_000));
    assert_eq!((saved.backends.len(), saved.registry), (2, progress));
    assert!(saved.left.len() == 1 && saved.left[0].is("api", gone));
    let (segment, mut config) = cells();
    config.registry.clone_from(&scene.config.registry);
    backend_state::take_over(segment, &config, &saved.backends, Millis(0));
    let backend = segment.backend(crate::shared::BackendId(0));
    assert_eq!((backend.weight(), backend.source()), (9, Some(crate::shared::Source::File)));
    let pool = segment.find_pool("api").unwrap();
    let slot = segment.members(pool).next().unwrap();
    assert_eq!(segment.backend(slot).source(), Some(crate::shared::Source::Registry));
    // A service without a registry has none of them.
    let (segment, config) = cells();
    backend_state::take_over(segment, &config, &saved.backends, Millis(0));
    assert!(segment.find_pool("api").is_none());
}
