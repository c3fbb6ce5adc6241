//! Links in files with a name: what may be there, and what is left.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use sim_bridge::SimTime;
use sim_bridge::link::{Link, LinkConfig, LinkError, Port};

fn config(name: &str) -> LinkConfig {
    LinkConfig::new(name)
}

fn impatient(name: &str) -> LinkConfig {
    LinkConfig {
        timeout: Duration::from_millis(50),
        ..LinkConfig::new(name)
    }
}

fn both(path: &Path) -> (Port, Port) {
    thread::scope(|scope| {
        let device = scope.spawn(|| Port::open(path, &config("device")).unwrap());
        let latency = SimTime::from_ns(3);
        let host = Port::create(
            path,
            &LinkConfig {
                latency,
                ..config("host")
            },
        )
        .unwrap();
        (host, device.join().unwrap())
    })
}

/// Runs a creator that waits for an opener; `then` is called once its file is there.
fn with_lonely_creator<T>(path: &Path, then: impl FnOnce() -> T) -> (Result<Port, LinkError>, T) {
    thread::scope(|scope| {
        let creator = scope.spawn(|| Port::create(path, &config("host")));
        while !path.exists() {
            thread::yield_now();
        }
        let result = then();
        (creator.join().unwrap(), result)
    })
}

#[test]
fn both_sides_meet_whoever_comes_first_and_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (host, device) = both(&path);
    assert_eq!((host.peer_name(), device.peer_name()), ("device", "host"));
    assert_eq!(device.latency(), SimTime::from_ns(3));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(device);
    assert!(path.exists());
    drop(host);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_third_side_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (_host, _device) = both(&path);
    let opener = Port::open(&path, &config("third")).unwrap_err();
    assert!(matches!(opener, LinkError::InUse { .. }), "{opener}");
    let creator = Port::create(&path, &config("third")).unwrap_err();
    assert!(matches!(creator, LinkError::InUse { .. }), "{creator}");
    assert!(path.exists());
}

#[test]
fn a_place_that_was_left_is_not_taken_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (_host, device) = both(&path);
    drop(device);
    let second = Port::open(&path, &config("second")).unwrap_err();
    assert!(matches!(second, LinkError::InUse { .. }), "{second}");
}

#[test]
fn somebody_elses_file_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    for contents in ["", "precious", &"precious ".repeat(10_000)] {
        let path = directory.path().join("file");
        fs::write(&path, contents).unwrap();
        for error in [Port::create(&path, &config("a")), Port::open(&path, &config("b"))] {
            let error = error.unwrap_err();
            assert!(matches!(error, LinkError::NotALink { .. }), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), contents);
    }
    for error in [
        Port::create(directory.path(), &config("a")),
        Port::open(directory.path(), &config("b")),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, LinkError::NotALink { .. }), "{error}");
    }
}

#[test]
fn a_dangling_symbolic_link_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::os::unix::fs::symlink(directory.path().join("nowhere"), &path).unwrap();
    let error = Port::create(&path, &config("a")).unwrap_err();
    assert!(matches!(error, LinkError::NotALink { .. }), "{error}");
}

#[test]
fn another_version_is_refused_on_both_sides_with_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (creator, opener) = with_lonely_creator(&path, || {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&77u64.to_ne_bytes(), 8).unwrap();
        Port::open(&path, &config("device")).unwrap_err()
    });
    let LinkError::Version { theirs, ours, .. } = opener else {
        panic!("{opener}")
    };
    assert_eq!((theirs, ours), (77, 1));
    let creator = creator.unwrap_err();
    assert!(matches!(creator, LinkError::Version { .. }), "{creator}");
    assert!(!path.exists());
}

#[test]
fn another_byte_order_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let mut start = b"ntb-link".to_vec();
    start.extend(
        [1u64, 0, 0x0807_0605_0403_0201]
            .iter()
            .flat_map(|word| word.to_ne_bytes()),
    );
    fs::write(&path, start).unwrap();
    let error = Port::open(&path, &config("device")).unwrap_err();
    assert!(error.to_string().contains("byte order"), "{error}");
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    File::create(&path).unwrap().write_all(b"ntb-link\x01").unwrap();
    let error = Port::open(&path, &config("device")).unwrap_err();
    assert!(matches!(error, LinkError::Truncated { have: 9, .. }), "{error}");
    fs::remove_file(&path).unwrap();
    for have in [4000, 5000] {
        let (_, opener) = with_lonely_creator(&path, || {
            // Cut off as an opener would find it; the creator never sees it.
            let copy = directory.path().join("copy");
            let _ = fs::remove_file(&copy);
            let bytes = fs::read(&path).unwrap();
            let creator = lonely_copy(&copy, &bytes[..have]);
            let error = Port::open(&copy, &config("device")).unwrap_err();
            drop(creator);
            drop(Port::open(&path, &config("device")).unwrap());
            error
        });
        let LinkError::Truncated {
            have: found, need, ..
        } = opener
        else {
            panic!("{opener}")
        };
        assert_eq!(found, have as u64);
        assert!(need > found);
    }
}

/// A file with the creator's lock held, as if its creator lived.
fn lonely_copy(path: &Path, bytes: &[u8]) -> File {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
    let (l_type, l_whence) = (libc::F_WRLCK as _, libc::SEEK_SET as _);
    let lock = libc::flock {
        l_type,
        l_whence,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    file
}

#[test]
fn sides_that_come_alone_time_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    for error in [
        Port::create(&path, &impatient("a")),
        Port::open(&path, &impatient("b")),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, LinkError::TimedOut { .. }), "{error}");
        assert!(!path.exists());
    }
    let (ours, _theirs) = UnixStream::pair().unwrap();
    for error in [
        Port::offer(&ours, &impatient("a")),
        Port::accept(&ours, &impatient("b")),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, LinkError::TimedOut { .. }), "{error}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    for error in [
        Port::create(Path::new("/nonexistent/link"), &impatient("a")),
        Port::open(Path::new("/nonexistent/link"), &impatient("b")),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, LinkError::Io { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/link"), "{error}");
    }
}

#[test]
fn something_else_on_the_socket_is_refused() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let error = Port::accept(&ours, &config("device")).unwrap_err();
    assert!(matches!(error, LinkError::NotALink { .. }), "{error}");
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let error = Port::accept(&ours, &config("device")).unwrap_err();
    assert!(matches!(error, LinkError::PeerDied { .. }), "{error}");
}
