//! Pieces of files over MQTT: a device asks on `linnet/fleet/<fleet>/fetch` with response topic and correlation data; who serves the
//! repository answers there. A reply is [`RangeHead`] as one line of JSON, a line feed, then the bytes.

use serde::{Deserialize, Serialize};

/// Most bytes of one reply: a broker's and a client's packet limits are far above it.
pub const MAX_RANGE_BYTES: u64 = 128 << 10;

/// Most bytes of a reply's head, line feed included.
const MAX_HEAD_BYTES: usize = 512;

/// Asks for a piece of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeRequest {
    /// Path in the repository: `generations/…` or `files/<sha256>`, as the metadata name it.
    pub path: String,
    /// First byte.
    pub offset: u64,
    /// Bytes; at most [`MAX_RANGE_BYTES`].
    pub bytes: u64,
}

/// What a reply says before its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeHead {
    /// How it went.
    pub status: RangeStatus,
    /// First byte.
    #[serde(default)]
    pub offset: u64,
    /// Bytes of the whole file.
    #[serde(default)]
    pub total: u64,
    /// Where the server is busy: when to ask again, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// How a request for a piece went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeStatus {
    /// The bytes follow.
    Ok,
    /// There is no such file.
    NotFound,
    /// The piece lies outside the file, or the request breaks a rule.
    Refused,
    /// Too many ask at once.
    Busy,
}

impl RangeHead {
    /// The reply of this head and `bytes`.
    pub fn with(&self, bytes: &[u8]) -> Vec<u8> {
        let mut reply = serde_json::to_vec(self).unwrap_or_default();
        reply.push(b'\n');
        reply.extend_from_slice(bytes);
        reply
    }

    /// Takes a reply apart; a fault is one sentence.
    pub fn parse(reply: &[u8]) -> Result<(Self, &[u8]), String> {
        let end = reply.iter().take(MAX_HEAD_BYTES).position(|&byte| byte == b'\n');
        let end = end.ok_or("the reply has no head")?;
        let head: Self =
            serde_json::from_slice(&reply[..end]).map_err(|e| format!("the reply's head cannot be read: {e}"))?;
        let bytes = &reply[end + 1..];
        if bytes.len() as u64 > MAX_RANGE_BYTES {
            return Err(format!("a reply of {} bytes; at most {MAX_RANGE_BYTES} are taken", bytes.len()));
        }
        if head.offset.checked_add(bytes.len() as u64).is_none_or(|end| end > head.total) {
            return Err("the reply's bytes lie outside of its file".into());
        }
        Ok((head, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_comes_apart_as_it_was_put_together() {
        let head = RangeHead { status: RangeStatus::Ok, offset: 4, total: 9, retry_after_ms: None };
        let reply = head.with(b"\n{a}");
        assert_eq!(RangeHead::parse(&reply), Ok((head, &b"\n{a}"[..])));
    }

    #[test]
    fn replies_that_lie_are_refused() {
        let head = |offset, total| RangeHead { status: RangeStatus::Ok, offset, total, retry_after_ms: None };
        for reply in [
            Vec::new(),
            b"no head".to_vec(),
            b"{}\nabc".to_vec(),
            head(7, 9).with(b"abc"),
            head(u64::MAX, 9).with(b"abc"),
            head(0, 1 << 20).with(&vec![0; MAX_RANGE_BYTES as usize + 1]),
            vec![b'{'; 1000],
        ] {
            RangeHead::parse(&reply).expect_err("refused");
        }
    }
}
