//! A client over HTTP that keeps its connection and its cookies, as a browser does.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::PATIENCE;

pub(crate) struct Visitor {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    pub(crate) cookies: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answered {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }
}

impl Visitor {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            cookies: BTreeMap::new(),
        }
    }

    #[cfg(feature = "session")]
    pub(crate) fn get(&mut self, path: &str) -> Answered {
        self.ask("GET", path, &[], "").unwrap()
    }

    #[cfg(feature = "session")]
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Answered {
        self.ask("POST", path, &[], body).unwrap()
    }

    /// An error: the connection ended; the next request makes a new one.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answered> {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if fields.iter().all(|(name, _)| *name != "Host") {
            request += &format!("Host: {}\r\n", self.address);
        }
        if !self.cookies.is_empty() {
            let cookies = self.cookies.iter();
            let cookies: Vec<_> = cookies
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request += &format!("Cookie: {}\r\n", cookies.join("; "));
        }
        for (name, value) in fields {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let answered = self.exchange(&request);
        match &answered {
            Ok(answered) => self.take_cookies(answered),
            Err(_) => self.stream = None,
        }
        answered
    }

    fn exchange(&mut self, request: &str) -> io::Result<Answered> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().unwrap();
        stream.get_mut().write_all(request.as_bytes())?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let fields = lines[1..].iter().filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut answered = Answered {
            status,
            fields: fields.collect(),
            text: String::new(),
        };
        let len = answered
            .field("content-length")
            .map_or(0, |len| len.parse().unwrap());
        let mut body = vec![0; len];
        stream.read_exact(&mut body)?;
        answered.text = String::from_utf8(body).unwrap();
        if answered.field("connection") == Some("close") {
            self.stream = None;
        }
        Ok(answered)
    }

    fn take_cookies(&mut self, answered: &Answered) {
        let set = answered.fields.iter();
        let set = set.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        for (_, cookie) in set {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}
