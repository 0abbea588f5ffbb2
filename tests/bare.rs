//! In a folder that holds nothing but the static binary and a busybox: DNS, TLS, tools, the end.
//!
//! Needs root, a static busybox and the static binary; skipped, with a line that says so, without them.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{ServerConnection, StreamOwned};
use serde_json::json;

use crate::{
    binary::static_binary,
    support::{
        copy_program,
        reply::Reply,
        server::Server,
        tls::{named, server_config},
    },
};

/// An address of this machine where nobody else serves names.
const NAMESERVER: &str = "127.66.3.1";
const HOST: &str = "api.test";

/// A folder to `chroot` into, with the binary at `/meanwhile` and a shell in `/bin`.
pub fn bare_root() -> Option<tempfile::TempDir> {
    let binary = static_binary()?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let Some(busybox) = busybox.filter(|_| rustix::process::getuid().is_root()) else {
        eprintln!("skipped: it takes root and a static busybox (Debian: busybox-static)");
        return None;
    };
    let root = tempfile::tempdir().unwrap();
    copy_program(binary, root.path().join("meanwhile"));
    fs::create_dir(root.path().join("bin")).unwrap();
    copy_program(busybox, root.path().join("bin/busybox"));
    for name in ["sh", "cat", "sleep", "ls"] {
        symlink("busybox", root.path().join("bin").join(name)).unwrap();
    }
    Some(root)
}

/// Runs the binary in `root` with only these variables.
pub fn run_in(root: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new("chroot")
        .arg(root)
        .arg("/meanwhile")
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_demo_runs_with_nothing_around_it() {
    let Some(root) = bare_root() else { return };
    fs::create_dir(root.path().join("tmp")).unwrap();
    let (code, stdout, stderr) = run_in(root.path(), &[], &["demo"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("All tests pass"), "{stdout}{stderr}");
}

#[test]
fn a_task_is_done_over_tls_with_a_name_to_look_up_and_no_ca_bundle() {
    let Some(root) = bare_root() else { return };
    if !serve_names() {
        return;
    }
    let server = Server::start();
    server.push(Reply::tool("background_run", json!({"command": "sleep 0.2; echo from the background"})));
    server.push(Reply::tool("bash", json!({"command": "echo $0; ls /"})));
    server.push(Reply::text("Started."));
    server.push(Reply::with(|request| {
        assert!(request.last_text().contains("| from the background"), "{}", request.body);
        Reply::text("Done.")
    }));
    let port = serve_tls(&server, root.path());
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/resolv.conf"), format!("nameserver {NAMESERVER}\n")).unwrap();

    let base = format!("https://{HOST}:{port}/prefix/");
    let variables = [
        ("ANTHROPIC_API_KEY", "test-key"),
        ("MODEL_ID", "test-model"),
        ("ANTHROPIC_BASE_URL", base.as_str()),
        ("SSL_CERT_FILE", "/ca.pem"),
    ];
    let (code, stdout, stderr) = run_in(root.path(), &variables, &["-p", "go"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "Done.\n"), "{stderr}");
    assert_eq!(server.violations(), Vec::<String>::new());
    assert!(server.requests()[2].tool_result(0).0.contains("meanwhile"));

    // With the built-in roots only, the same server is nobody that we know.
    let (code, stdout, stderr) = run_in(root.path(), &variables[..3], &["-p", "go"]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""), "{stderr}");
    assert!(stderr.contains("certificate"), "{stderr}");
}

/// A name server that says that every name is 127.0.0.1; false where the port is not free.
fn serve_names() -> bool {
    let socket = match UdpSocket::bind((NAMESERVER, 53)) {
        Ok(socket) => socket,
        Err(err) => {
            eprintln!("skipped: no name server on {NAMESERVER}: {err}");
            return false;
        }
    };
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let _ = socket.send_to(&answer(&query[..length]), from);
        }
    });
    true
}

/// The answer to a query with one question (RFC 1035, 4.1): an address for A, nothing for AAAA.
fn answer(query: &[u8]) -> Vec<u8> {
    const A: u8 = 1;
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_a = query[end - 3] == A;
    let mut answer = query[..end].to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[4..12].copy_from_slice(&[0, 1, 0, is_a.into(), 0, 0, 0, 0]);
    if is_a {
        answer.extend([0xc0, 12, 0, A, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

/// TLS in front of `server`, with a certificate of a CA that is written to `ca.pem` in `root`. Returns the port.
fn serve_tls(server: &Server, root: &Path) -> u16 {
    let (config, certificate) = server_config(named(HOST));
    fs::write(root.join("ca.pem"), certificate).unwrap();
    let plain = server.url().replace("http://", "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let server = TcpStream::connect(plain.trim_end_matches('/')).unwrap();
            thread::spawn(|| relay(StreamOwned::new(connection, client), server));
        }
    });
    port
}

/// Carries bytes both ways until one side ends; each side is looked at in turn.
fn relay(mut client: StreamOwned<ServerConnection, TcpStream>, mut server: TcpStream) {
    let look = Some(Duration::from_millis(2));
    client.sock.set_read_timeout(look).unwrap();
    server.set_read_timeout(look).unwrap();
    let mut buffer = [0; 16 * 1024];
    loop {
        let done =
            carry(&mut client, &mut server, &mut buffer) || carry(&mut server, &mut client, &mut buffer);
        if done {
            return;
        }
    }
}

fn carry(from: &mut impl Read, to: &mut impl Write, buffer: &mut [u8]) -> bool {
    match from.read(buffer) {
        Ok(0) => true,
        Ok(n) => to.write_all(&buffer[..n]).and_then(|()| to.flush()).is_err(),
        Err(err) => !matches!(err.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}
