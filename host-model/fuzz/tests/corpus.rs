//! The fuzz target without a fuzzer.

use std::path::Path;

use host_model_fuzz::{Input, run};
use proptest::prelude::*;

#[test]
fn the_corpus_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut inputs = 0;
    for file in corpus.read_dir().expect("corpus") {
        let path = file.expect("file of the corpus").path();
        let bytes = std::fs::read(&path).expect("file of the corpus");
        let input = Input::from_bytes(&bytes).expect("an input");
        println!("{}", path.display());
        run(&input);
        inputs += 1;
    }
    assert!(inputs > 0, "no corpus at {}", corpus.display());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        if let Ok(input) = Input::from_bytes(&bytes) {
            run(&input);
        }
    }
}
