use super::*;

fn wire() -> (UnixStream, Wire) {
    let (ours, stream) = UnixStream::pair().unwrap();
    (ours, Wire { stream, ahead: Bytes::new() })
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.unwrap()
}

#[tokio::test]
async fn what_the_guest_says_last_arrives_also_where_it_takes_no_more() {
    let ((mut client, near), (mut guest, far)) = (wire(), wire());
    let relaying = tokio::spawn(relay(near, Wire { ahead: Bytes::from_static(b"first "), ..far }));
    client.write_all(&vec![b'x'; 1 << 20][..100 << 10]).await.unwrap();
    guest.write_all(b"last").await.unwrap();
    drop(guest);
    let mut heard = Vec::new();
    let _ = within(client.read_to_end(&mut heard)).await;
    assert_eq!(heard, b"first last");
    within(relaying).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_though_nobody_takes_his_bytes() {
    let ((client, near), (mut guest, far)) = (wire(), wire());
    let relaying = tokio::spawn(relay(near, far));
    let flood = vec![b'x'; 64 << 10];
    // Until every buffer on the way is full.
    while tokio::time::timeout(Duration::from_millis(300), client.writable()).await.is_ok() {
        let _ = client.try_write(&flood);
    }
    assert!(!relaying.is_finished());
    drop(client);
    within(relaying).await.unwrap();
    let mut rest = Vec::new();
    let _ = within(guest.read_to_end(&mut rest)).await;
    assert!(!rest.is_empty());
}
