use std::sync::Once;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError,
    RedisResult, TlsCertificates, TlsMode,
};

use super::Connection;
use crate::store::redis::Reached;

/// How long it may take to connect, and to say who we are.
const CONNECTING: Duration = Duration::from_secs(1);
/// A connection whose other end acknowledges nothing for so long is none.
const SILENCE: Duration = Duration::from_secs(5);
/// Calls that wait to be written.
const QUEUE: usize = 1024;
/// How often a cluster's client may follow a slot to another node, or connect to a node again, for one call.
const MOVES: u32 = 2;

/// How a connection is made.
#[expect(clippy::large_enum_variant, reason = "one for each process")]
pub(super) enum Way {
    /// A server, or a node of a cluster: it is asked which.
    One(Client, ClusterClient),
    Cluster(ClusterClient),
    Sentinel(SentinelClient),
}

impl Way {
    pub(super) fn new(reached: &Reached<'_>) -> RedisResult<Self> {
        install_arithmetic();
        let infos: Vec<_> = reached.urls.iter().map(|url| url.into_connection_info()).collect::<RedisResult<_>>()?;
        let roots = reached.roots.map(|roots| TlsCertificates { client_tls: None, root_cert: Some(roots.to_vec()) });
        Ok(match (&*infos, reached.sentinel_master) {
            (sentinels, Some(master)) => Self::Sentinel(sentinel(sentinels, master, roots)?),
            ([one], None) => Self::One(server(one, roots.as_ref())?, cluster(&infos, roots)?),
            (nodes, None) => Self::Cluster(cluster(nodes, roots)?),
        })
    }

    /// Makes one attempt.
    pub(super) async fn connect(&mut self) -> RedisResult<Connection> {
        match self {
            Self::One(server, cluster) => {
                let mut connection = Box::pin(server.get_multiplexed_async_connection_with_config(&config())).await?;
                // A server that does not tell us is taken for one.
                let told: String =
                    redis::cmd("INFO").arg("cluster").query_async(&mut connection).await.unwrap_or_default();
                if told.contains("cluster_enabled:1") {
                    return Ok(Connection::Cluster(Box::pin(cluster.get_async_connection()).await?));
                }
                Ok(Connection::Server(connection))
            }
            Self::Cluster(client) => Ok(Connection::Cluster(Box::pin(client.get_async_connection()).await?)),
            Self::Sentinel(client) => {
                Ok(Connection::Server(Box::pin(client.get_async_connection_with_config(&config())).await?))
            }
        }
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECTING))
        .set_response_timeout(Some(CONNECTING))
        .set_pipeline_buffer_size(QUEUE)
}

/// Small messages go out at once, and a peer that is gone without a word is noticed.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_user_timeout(SILENCE)
}

fn server(info: &ConnectionInfo, roots: Option<&TlsCertificates>) -> RedisResult<Client> {
    let info = info.clone().set_tcp_settings(tcp());
    match roots {
        Some(roots) if is_tls(info.addr()) => Client::build_with_tls(info, roots.clone()),
        _ => Client::open(info),
    }
}

fn cluster(nodes: &[ConnectionInfo], roots: Option<TlsCertificates>) -> RedisResult<ClusterClient> {
    let builder = ClusterClientBuilder::new(nodes.iter().cloned())
        .connection_timeout(CONNECTING)
        .response_timeout(CONNECTING)
        .retries(MOVES)
        .min_retry_wait(5)
        .max_retry_wait(50)
        .tcp_settings(tcp());
    roots.into_iter().fold(builder, ClusterClientBuilder::certs).build()
}

/// Who says which server is the master. That one is reached as `master` says, where it is a URL, and else as the first
/// sentinel is: with the same user, password, number and TLS.
fn sentinel(sentinels: &[ConnectionInfo], master: &str, roots: Option<TlsCertificates>) -> RedisResult<SentinelClient> {
    let Some(first) = sentinels.first() else {
        return Err(RedisError::from((ErrorKind::EmptySentinelList, "name at least one sentinel")));
    };
    let (name, redis) = match master.into_connection_info() {
        Ok(info) if master.contains("://") => (host(info.addr()).to_owned(), info),
        _ => (master.to_owned(), first.clone()),
    };
    let addresses = sentinels.iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)?
        .set_client_to_redis_db(redis.redis_settings().db())
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if let Some(user) = redis.redis_settings().username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = redis.redis_settings().password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = first.redis_settings().username() {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = first.redis_settings().password() {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if is_tls(redis.addr()) {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(roots) = roots {
        if is_tls(first.addr()) {
            builder = builder.set_client_to_sentinel_certificates(roots.clone());
        }
        builder = builder.set_client_to_redis_certificates(roots);
    }
    builder.build()
}

fn is_tls(address: &ConnectionAddr) -> bool {
    matches!(address, ConnectionAddr::TcpTls { .. })
}

fn host(address: &ConnectionAddr) -> &str {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
        _ => "",
    }
}

/// Says what does the arithmetic of TLS. Several are linked, so that rustls knows no default, and the client names none.
fn install_arithmetic() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Fails where somebody was faster, who is welcome.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}
