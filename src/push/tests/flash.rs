//! Flash is spared.

use linnet_proto::fleet::PushState;

use super::device::{Device, Fetched, Source};
use crate::store::generations::Options;
use crate::store::generations::faulty::{FaultyDisk, Loss};

const OPTIONS: Options = Options { free_margin_bytes: 1000, sync_every_bytes: 64 << 10 };

fn model(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed).wrapping_add((n >> 8) as u8)).collect()
}

/// A device with generation 1, of two models of a MiB; what was published.
fn device() -> (FaultyDisk, Source) {
    let mut source = Source::in_pieces_of(40_000);
    let (speech, words) = (model(1, 1 << 20), model(2, 1 << 20));
    source.publish(1, &[("speech", &[("model", &speech)]), ("words", &[("model", &words)])]);
    let disk = FaultyDisk::new();
    let life = Device::live(&disk, &source, OPTIONS, &[], 1, &Fetched::default()).expect("sound").expect("opens");
    assert_eq!(life.device.serving, 1);
    (disk.restart(Loss::All), source)
}

#[test]
fn an_update_writes_little_more_than_what_changed() {
    let (disk, mut source) = device();
    let (speech, words) = (model(3, 300 << 10), model(2, 1 << 20));
    let document = source.publish(2, &[("speech", &[("model", &speech)]), ("words", &[("model", &words)])]);
    let life = Device::live(&disk, &source, OPTIONS, &[], 2, &Fetched::default()).expect("sound").expect("opens");
    assert_eq!(life.device.serving, 2);
    let (written, changed) = (life.device.store.bytes_written(), (speech.len() + document) as u64);
    assert!(written >= changed && written * 10 <= changed * 11, "{written} bytes written for {changed} that changed");
}

#[test]
fn a_change_of_configuration_alone_writes_its_document_and_a_few_kilobytes_of_states() {
    let (disk, mut source) = device();
    let (speech, words) = (model(1, 1 << 20), model(2, 1 << 20));
    let document = source.publish(2, &[("speech", &[("model", &speech)]), ("words", &[("model", &words)])]);
    let life = Device::live(&disk, &source, OPTIONS, &[], 2, &Fetched::default()).expect("sound").expect("opens");
    let written = life.device.store.bytes_written();
    assert_eq!(life.device.serving, 2);
    assert!((document as u64..document as u64 + 4096).contains(&written), "{written} bytes for {document}");
}

#[test]
fn starts_and_offers_without_news_write_nothing() {
    let (disk, source) = device();
    // The first start after a power cut removes the names that came back with it.
    drop(Device::live(&disk, &source, OPTIONS, &[], 1, &Fetched::default()).expect("sound"));
    let before = disk.operations();
    for generation in [1, 1, 1] {
        let life =
            Device::live(&disk, &source, OPTIONS, &[], generation, &Fetched::default()).expect("sound").expect("opens");
        assert_eq!(life.device.store.bytes_written(), 0);
        assert_eq!(life.device.reports, [(PushState::Confirmed, None)], "a start reports where it stands, once");
    }
    assert_eq!(disk.operations(), before, "neither a byte nor a name nor a sync");
}

#[test]
fn a_refused_generation_is_fetched_once_however_often_it_is_offered() {
    let (disk, mut source) = device();
    source.publish(2, &[("speech", &[("model", &model(9, 200 << 10))])]);
    let live = || Device::live(&disk, &source, OPTIONS, &[2], 2, &Fetched::default()).expect("sound").expect("opens");
    assert!(live().device.store.bytes_written() > 200 << 10);
    let again = live();
    assert_eq!((again.device.serving, again.device.store.bytes_written()), (1, 0));
    assert!(again.device.fetched.finished.is_empty());
}
