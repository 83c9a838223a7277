//! A side whose bytes the other one does not take: it is not heard of meanwhile, and nothing is lost by that.

use super::*;

const LEN: usize = 64 * MIB;

/// Sends until nobody takes more for a while; how much was sent.
async fn fill(host: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Ok(sent) = tokio::time::timeout(Duration::from_millis(300), host.write(&bytes[at..])).await {
        at += sent.unwrap();
        assert!(at < bytes.len(), "somebody holds all of it");
    }
    at
}

#[test]
fn what_goes_the_other_way_is_delivered() {
    run(async {
        let ((client, down), (up, host)) = (pair().await, pair().await);
        let pipes = Rc::new(Pipes::default());
        let relay = relay(down, up, &pipes, Options::default());
        let (all, other) = (pattern(4, LEN), pattern(5, MIB));
        let ((client_read, mut client_write), (mut host_read, mut host_write)) =
            (client.into_split(), host.into_split());
        let sent = fill(&mut host_write, &all).await;
        for _ in 0..3 {
            let mut back = vec![0; MIB];
            let send = async { client_write.write_all(&other).await.unwrap() };
            let receive = async { host_read.read_exact(&mut back).await.unwrap() };
            tokio::join!(send, receive);
            assert_eq!(back, other);
        }
        let rest = async {
            host_write.write_all(&all[sent..]).await.unwrap();
            host_write.shutdown().await.unwrap();
        };
        tokio::join!(rest, check_pattern(client_read, &all));
        client_write.shutdown().await.unwrap();
        let outcome = relay.await.unwrap();
        assert!(matches!(outcome.end, End::Finished(_)), "{outcome:?}");
        assert!(outcome.spliced > (LEN / 2) as u64, "{outcome:?}");
        assert_eq!(outcome.upstream, (LEN as u64, 3 * MIB as u64));
    });
}

#[test]
fn its_reset_is_found_once_the_other_side_goes_on() {
    run(async {
        let ((mut client, down), (up, mut host)) = (pair().await, pair().await);
        let pipes = Rc::new(Pipes::default());
        let relay = relay(down, up, &pipes, Options::default());
        fill(&mut host, &pattern(6, LEN)).await;
        socket2::SockRef::from(&host).set_linger(Some(Duration::ZERO)).unwrap();
        drop(host);
        let mut chunk = vec![0; MIB];
        while client.read(&mut chunk).await.is_ok_and(|n| n > 0) {}
        let outcome = relay.await.unwrap();
        assert!(matches!(outcome.end, End::Reset(Side::Upstream)), "{outcome:?}");
    });
}
