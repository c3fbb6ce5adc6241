//! FST traces.

use ntb_rtl::registers::IDENTIFICATION;
use ntb_rtl::{Ntb, NtbConfig};

use crate::harness::Host;

#[test]
fn a_traced_model_behaves_alike_and_writes_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ntb.fst");
    let mut host = Host::around(Ntb::with_waves(&NtbConfig::default(), &path).unwrap());
    host.enumerate();
    assert_eq!(host.read(IDENTIFICATION).to_be_bytes(), *b"NTB1");
    drop(host);
    assert!(std::fs::metadata(&path).unwrap().len() > 1000);
}

#[test]
fn a_trace_that_cannot_be_written_is_an_error_that_names_it() {
    let error = Ntb::with_waves(&NtbConfig::default(), "/nonexistent/ntb.fst")
        .err()
        .unwrap();
    assert!(error.to_string().contains("/nonexistent/ntb.fst"), "{error}");
}
