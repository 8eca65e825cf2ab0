use std::process::{Child, Command, Stdio};

use tokio::io::DuplexStream;

use super::*;

/// A program with its streams as a container's process has them; its end is told by the sender.
fn exec(script: &str) -> (Child, Exec, watch::Sender<Option<u8>>) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let streams = Streams {
        input: Some(Sender::from_owned_fd(OwnedFd::from(child.stdin.take().unwrap())).unwrap()),
        output: Some(Receiver::from_owned_fd(OwnedFd::from(child.stdout.take().unwrap())).unwrap()),
        errors: Some(Receiver::from_owned_fd(OwnedFd::from(child.stderr.take().unwrap())).unwrap()),
        terminal: None,
    };
    let (known, exit) = watch::channel(None);
    (child, Exec { streams, exit }, known)
}

/// The next frame of what a client hears.
async fn hear(client: &mut DuplexStream) -> (u8, Vec<u8>) {
    let mut head = [0; HEADER];
    client.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let mut payload = vec![0; length];
    client.read_exact(&mut payload).await.unwrap();
    (head[0], payload)
}

#[tokio::test]
async fn input_goes_in_output_comes_out_and_the_status_is_last() {
    let (mut child, exec, known) = exec("cat; echo late >&2; sleep 60 & exit 7");
    let (mut client, guest) = tokio::io::duplex(1 << 10);
    let serving = tokio::spawn(serve(guest, exec));
    client.write_all(b"\0\0\0\0\0\0\0\x03abc\0\0\0\0\0\0\0\0").await.unwrap();
    assert_eq!(hear(&mut client).await, (OUTPUT, b"abc".to_vec()));
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    known.send_replace(Some(status.code().unwrap() as u8));
    assert_eq!(hear(&mut client).await, (ERRORS, b"late\n".to_vec()));
    // Somebody else has the output open, for a minute.
    assert_eq!(hear(&mut client).await, (EXIT, vec![7]));
    serving.await.unwrap();
}

#[tokio::test]
async fn who_does_not_read_holds_the_process_up_and_who_leaves_ends_its_streams() {
    let (mut child, exec, known) = exec("yes");
    let (client, guest) = tokio::io::duplex(1 << 10);
    let serving = tokio::spawn(serve(guest, exec));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!serving.is_finished() && child.try_wait().unwrap().is_none());
    drop(client);
    serving.await.unwrap();
    // It writes to nobody.
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(!status.success());
    drop(known);
}

#[tokio::test]
async fn what_is_no_frame_ends_the_session() {
    for bytes in
        [&b"\x05\0\0\0\0\0\0\0"[..], b"\0\0\0\x01\0\0\0\0", b"\0\0\0\0\0\x01\0\x01", b"\x03\0\0\0\0\0\0\x05"]
    {
        let (mut child, exec, known) = exec("cat");
        let (mut client, guest) = tokio::io::duplex(1 << 10);
        let serving = tokio::spawn(serve(guest, exec));
        client.write_all(bytes).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
        // Its input has ended with it.
        assert!(tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap().success());
        drop(known);
    }
}
