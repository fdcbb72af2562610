//! The broker's address: `mqtt://host[:port]`, `mqtts://…`, `ws://host[:port]/path`, `wss://…`.

/// How the broker is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// TCP, 1883.
    Mqtt,
    /// TLS, 8883.
    Mqtts,
    /// WebSocket, 80.
    Ws,
    /// WebSocket over TLS, 443.
    Wss,
}

impl Scheme {
    /// Whether TLS is spoken.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// Whether WebSocket is spoken.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    fn parse(name: &str) -> Option<(Self, u16)> {
        match name.to_ascii_lowercase().as_str() {
            "mqtt" => Some((Self::Mqtt, 1883)),
            "mqtts" => Some((Self::Mqtts, 8883)),
            "ws" => Some((Self::Ws, 80)),
            "wss" => Some((Self::Wss, 443)),
            _ => None,
        }
    }
}

/// A broker's address whose parts have passed their rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How.
    pub scheme: Scheme,
    /// Name or IP address, an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path of a WebSocket, with its slash; `/mqtt` where the URL names none. Empty otherwise.
    pub path: String,
}

impl Address {
    /// Reads a URL. Gives one sentence on what is wrong and what is right.
    pub fn parse(url: &str) -> Result<Self, String> {
        let example = "write it as mqtt://host:1883, mqtts://host:8883, ws://host/mqtt or wss://host/mqtt";
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("has no scheme; {example}"))?;
        let (scheme, default_port) =
            Scheme::parse(scheme).ok_or_else(|| format!("has the unknown scheme {scheme:?}; {example}"))?;
        if let Some(bad) = rest.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#')) {
            return Err(format!("holds {bad:?}, which a broker's address never does; {example}"));
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        // A password may hold a slash: then it would be taken for a path, and shown.
        if authority.contains('@') || (!scheme.is_websocket() && path.contains('@')) {
            return Err("holds a user name; set mqtt.username and mqtt.password_file instead".into());
        }
        if !scheme.is_websocket() && !matches!(path, "" | "/") {
            return Err(format!("has the path {path:?}, which only ws:// and wss:// know"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| format!("has a broken host or port; {example}"))?;
        let port = match port {
            None => default_port,
            Some(port) => port
                .parse()
                .ok()
                .filter(|p| *p != 0)
                .ok_or_else(|| format!("has the port {port:?}; it must be from 1 to 65535"))?,
        };
        let path = match (scheme.is_websocket(), path) {
            (false, _) => String::new(),
            (true, "") => "/mqtt".to_owned(),
            (true, path) => path.to_owned(),
        };
        Ok(Self { scheme, host: host.to_owned(), port, path })
    }

    /// What the client library takes as the broker: a host, or a whole URL for WebSocket.
    pub fn broker(&self) -> String {
        if !self.scheme.is_websocket() {
            return self.host.clone();
        }
        let scheme = if self.scheme.is_tls() { "wss" } else { "ws" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}{}", self.port, self.path)
    }
}

/// Host without brackets and the text of the port.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            authority.split_at(end)
        }
    };
    let sound = !host.is_empty() && !host.contains(['[', ']', '\\', '%']);
    match rest.strip_prefix(':') {
        Some(port) => sound.then_some((host, Some(port))),
        None => (sound && rest.is_empty()).then_some((host, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_default_ports() {
        for (url, scheme, host, port, path) in [
            ("mqtt://broker", Scheme::Mqtt, "broker", 1883, ""),
            ("MQTTS://broker.example/", Scheme::Mqtts, "broker.example", 8883, ""),
            ("mqtt://[::1]:2883", Scheme::Mqtt, "::1", 2883, ""),
            ("ws://broker", Scheme::Ws, "broker", 80, "/mqtt"),
            ("wss://broker:8443/a/b", Scheme::Wss, "broker", 8443, "/a/b"),
        ] {
            let wanted = Address { scheme, host: host.into(), port, path: path.into() };
            assert_eq!(Address::parse(url), Ok(wanted), "{url}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_the_way_out() {
        for (url, says) in [
            ("broker:1883", "no scheme"),
            ("http://broker", "unknown scheme"),
            ("mqtt://", "broken host"),
            ("mqtt://:1883", "broken host"),
            ("mqtt://[::1", "broken host"),
            ("mqtt://[nonsense]:1883", "broken host"),
            ("mqtt://::1:1883", "port"),
            ("mqtt://broker:0", "from 1 to 65535"),
            ("mqtt://broker:65536", "from 1 to 65535"),
            ("mqtt://user:secret@broker", "mqtt.password_file"),
            ("mqtt://broker/topic", "only ws://"),
            ("mqtt://bro ker", "' '"),
            ("ws://broker/mqtt?token=x", "'?'"),
        ] {
            let refusal = Address::parse(url).expect_err(url);
            assert!(refusal.contains(says), "{url}: {refusal}");
        }
    }

    #[test]
    fn the_library_gets_a_host_or_a_whole_url() {
        let broker = |url| Address::parse(url).expect(url).broker();
        assert_eq!(broker("mqtts://[fe80::1]:1"), "fe80::1");
        assert_eq!(broker("ws://[::1]"), "ws://[::1]:80/mqtt");
        assert_eq!(broker("wss://broker/x"), "wss://broker:443/x");
    }
}
