//! Any body as the multipart form of an upload.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use linnet::transport::http::form::parse;

fuzz_target!(|body: &[u8]| {
    let form = parse("multipart/form-data; boundary=linnet", Bytes::copy_from_slice(body));
    if let Err(refused) = form {
        assert!(!refused.message.is_empty());
    }
});
