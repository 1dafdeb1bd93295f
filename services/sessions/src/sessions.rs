//! Sessions as their tenants see them: made, read, changed, forked, bound, erased.

use std::sync::Arc;
use std::time::SystemTime;

use pointsman_errors::Error;
use pointsman_proto::inference::v1::Message;
use pointsman_proto::sessions::v1::{
    AppendMessagesRequest, BeginTurn, ChannelBinding, Erasure, ErasureCause, Fence, Session, SessionState, Turn,
    TurnKind,
};
use pointsman_server::{Drain, Work};
use tokio::sync::Notify;

use crate::config::Config;
use crate::error::{self, of_copies, of_store};
use crate::leases::Leases;
use crate::metrics::Metrics;
use crate::places::{Leave, Places};
use crate::signals::Listeners;
use crate::store::sql::{Sql, time};
use crate::store::{
    BindingStore, Created, ErasureStore, FeedStore, LeaseStore, RunStore, SessionKey, SessionStore, SignalStore,
    TurnStore, Who, micros,
};
use crate::tools;
use crate::turn::{Begun, Coming, expires};

/// What every call works with.
pub(crate) struct Sessions {
    pub(crate) config: Config,
    pub(crate) stores: Stores,
    pub(crate) leases: Leases,
    pub(crate) places: Arc<Places>,
    pub(crate) listeners: Arc<Listeners>,
    /// Told whenever a turn is committed in this process.
    pub(crate) committed: Notify,
    /// Told whenever something of a run was kept in this process.
    pub(crate) recorded: Notify,
    pub(crate) metrics: Metrics,
    pub(crate) work: Work,
    pub(crate) drain: Drain,
}

/// What sessions have of their process.
pub(crate) struct Around {
    pub(crate) metrics: Metrics,
    pub(crate) work: Work,
    pub(crate) drain: Drain,
}

/// Where everything is kept.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) turns: Arc<dyn TurnStore>,
    pub(crate) bindings: Arc<dyn BindingStore>,
    pub(crate) erasures: Arc<dyn ErasureStore>,
    pub(crate) feed: Arc<dyn FeedStore>,
    pub(crate) runs: Arc<dyn RunStore>,
    pub(crate) signals: Arc<dyn SignalStore>,
}

impl Stores {
    /// All in one database.
    fn of(database: &Arc<Sql>) -> Self {
        Self {
            sessions: Arc::clone(database) as _,
            turns: Arc::clone(database) as _,
            bindings: Arc::clone(database) as _,
            erasures: Arc::clone(database) as _,
            feed: Arc::clone(database) as _,
            runs: Arc::clone(database) as _,
            signals: Arc::clone(database) as _,
        }
    }
}

impl Sessions {
    /// Works with a database, and with Redis if it is there.
    pub(crate) fn new(
        config: &Config,
        database: &Arc<Sql>,
        redis: Option<Arc<dyn LeaseStore>>,
        around: Around,
    ) -> Arc<Self> {
        let Around { metrics, work, drain } = around;
        let own = crate::leases(Arc::clone(database));
        Arc::new(Self {
            stores: Stores::of(database),
            leases: Leases { redis, own, time: config.lease, metrics: metrics.clone() },
            places: Arc::default(),
            listeners: Arc::default(),
            committed: Notify::new(),
            recorded: Notify::new(),
            config: config.clone(),
            metrics,
            work,
            drain,
        })
    }

    /// A session of these settings, as it is when it is new.
    pub(crate) fn new_session(&self, key: &SessionKey, settings: Session) -> Session {
        let now = SystemTime::now();
        let expire_time = Some(time(expires(now, &settings, self.config.retention)));
        // As it will be read: databases have microseconds.
        let create_time = Some(time(micros(now)));
        Session {
            name: format!("sessions/{}", key.id),
            uid: uuid::Uuid::now_v7().to_string(),
            revision: 0,
            epoch: 0,
            state: SessionState::Idle.into(),
            awaited_tool_call_ids: Vec::new(),
            tool_expire_time: None,
            forked_from: String::new(),
            forked_at_revision: 0,
            create_time,
            update_time: create_time,
            expire_time,
            etag: new_etag(),
            ..settings
        }
    }

    pub(crate) async fn create(&self, key: &SessionKey, settings: Session) -> Result<Session, Error> {
        let session = self.new_session(key, settings);
        match self.stores.sessions.create(key, &session).await.map_err(|error| of_store(&error))? {
            Created::Yes => Ok(session),
            Created::Exists => Err(error::exists(key)),
        }
    }

    pub(crate) async fn get(&self, key: &SessionKey) -> Result<Session, Error> {
        let found = self.stores.sessions.get(key).await.map_err(|error| of_store(&error))?;
        found.ok_or_else(|| error::not_found(key))
    }

    /// Changes settings. Somebody who changes others at the same time loses nothing, and neither does this one.
    pub(crate) async fn update(&self, key: &SessionKey, wanted: &Session, paths: &[String]) -> Result<Session, Error> {
        loop {
            let found = self.get(key).await?;
            if !wanted.etag.is_empty() && wanted.etag != found.etag {
                return Err(error::changed());
            }
            let now = SystemTime::now();
            let mut session = crate::settings::changed(&found, wanted, paths);
            if session == found {
                return Ok(found);
            }
            session.etag = new_etag();
            session.update_time = Some(time(micros(now)));
            session.expire_time = Some(time(expires(now, &session, self.config.retention)));
            let updated = self.stores.sessions.update(key, &found.etag, &session).await;
            if let Some(session) = updated.map_err(|error| of_store(&error))? {
                return Ok(session);
            }
        }
    }

    pub(crate) async fn fork(
        &self,
        key: &SessionKey,
        revision: Option<u64>,
        new: &SessionKey,
    ) -> Result<Session, Error> {
        let from = self.get(key).await?;
        let at = revision.unwrap_or(from.revision);
        if at > from.revision {
            return Err(error::turn_not_found(at, from.revision));
        }
        let fence = Fence { uid: from.uid.clone(), epoch: from.epoch, revision: at };
        let mut session = self.new_session(new, from.clone());
        (session.revision, session.forked_from, session.forked_at_revision) = (at, from.name, at);
        let last = self.stores.turns.list(key, at.saturating_sub(1), u32::from(at > 0), u64::MAX).await;
        let last = last.map_err(|error| of_store(&error))?;
        session.awaited_tool_call_ids = last.first().map(tools::left_open).unwrap_or_default();
        if !session.awaited_tool_call_ids.is_empty() {
            session.state = SessionState::AwaitingTools.into();
            session.tool_expire_time = Some(tools::expire_time(&session).into());
        }
        match self.stores.sessions.fork(&fence, new, &session).await.map_err(|error| of_store(&error))? {
            Some(Created::Yes) => Ok(session),
            Some(Created::Exists) => Err(error::exists(new)),
            None => {
                self.get(key).await?;
                Err(error::changed_meanwhile())
            }
        }
    }

    /// Erases a session: first what is remembered, so that no copy outlives the truth.
    pub(crate) async fn erase(
        &self,
        key: &SessionKey,
        by: &str,
        cause: ErasureCause,
    ) -> Result<Option<Erasure>, Error> {
        self.leases.forget(key).await.map_err(|error| of_copies(&error))?;
        let erasure = Erasure {
            session: format!("sessions/{}", key.id),
            key: by.to_owned(),
            cause: cause.into(),
            erase_time: Some(time(micros(SystemTime::now()))),
            ..Erasure::default()
        };
        // Who has spoken since it was looked at lives on.
        let expired_by = (cause == ErasureCause::Retention).then(|| micros(SystemTime::now()));
        let erased = self.stores.erasures.erase(key, &erasure, expired_by).await.map_err(|error| of_store(&error))?;
        if let Some(erased) = &erased {
            self.places.ask_to_leave(key, Leave::Erased);
            // And again what a turn may have left there meanwhile: none comes after this one.
            self.forget_changed(key).await;
            self.metrics.erased();
            tracing::info!(uid = erased.uid, turns = erased.turn_count, cause = ?cause, "a session was erased");
        }
        Ok(erased)
    }

    /// Adds messages as a turn.
    pub(crate) async fn append(
        self: &Arc<Self>,
        key: &SessionKey,
        append: AppendMessagesRequest,
        digest: u64,
    ) -> Result<Turn, Error> {
        let begin = BeginTurn {
            session: append.name,
            expected_revision: append.expected_revision,
            request_id: append.request_id,
            request_digest: digest,
            messages: append.messages.clone(),
            channel: append.channel.clone(),
            ..BeginTurn::default()
        };
        // What is not there is not made by adding to it.
        self.get(key).await?;
        match self.begin(key.clone(), begin, Coming::Add).await? {
            Begun::Committed(committed) => Ok(committed.turn.unwrap_or_default()),
            Begun::Running(turn, begun) => {
                let input: Vec<Message> = begun.prepended_messages.into_iter().chain(append.messages).collect();
                let appended = Turn {
                    kind: TurnKind::Appended.into(),
                    input,
                    channel: append.channel,
                    data_class: begun.data_class,
                    pinned: append.pinned,
                    ..Turn::default()
                };
                Ok(turn.commit(appended).await?.turn.unwrap_or_default())
            }
        }
    }

    pub(crate) async fn pin(&self, key: &SessionKey, revision: u64, pinned: bool) -> Result<Turn, Error> {
        let session = self.get(key).await?;
        // Remembered turns have the pin that they had. First, so that nothing is changed where that fails.
        self.leases.forget(key).await.map_err(|error| of_copies(&error))?;
        let changed = self.stores.turns.pin(key, revision, pinned).await.map_err(|error| of_store(&error))?;
        self.forget_changed(key).await;
        changed.ok_or_else(|| error::turn_not_found(revision, session.revision))
    }

    /// Forgets what may have come to be remembered while a session was changed. What stays there if that fails ends with
    /// its time.
    pub(crate) async fn forget_changed(&self, key: &SessionKey) {
        if let Err(error) = self.leases.forget(key).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "what is remembered of a session that was changed may be old");
        }
    }

    pub(crate) async fn resolve(
        &self,
        key: &SessionKey,
        who: (&str, &str),
        settings: Session,
    ) -> Result<(Session, Created), Error> {
        let session = self.new_session(key, settings);
        let (channel, external_user) = who;
        let who = Who { tenant: &key.tenant, channel, external_user, time: micros(SystemTime::now()) };
        self.stores.bindings.resolve(&who, (key, &session)).await.map_err(|error| of_store(&error))
    }

    pub(crate) async fn bind(
        &self,
        key: &SessionKey,
        channel: &str,
        external_user: &str,
    ) -> Result<ChannelBinding, Error> {
        let who = Who { tenant: &key.tenant, channel, external_user, time: micros(SystemTime::now()) };
        let bound = self.stores.bindings.bind(&who, key).await.map_err(|error| of_store(&error))?;
        bound.ok_or_else(|| error::not_found(key))
    }

    pub(crate) async fn binding(&self, who: &Who<'_>) -> Result<ChannelBinding, Error> {
        let found = self.stores.bindings.get(who).await.map_err(|error| of_store(&error))?;
        found.ok_or_else(|| error::not_bound(who))
    }

    pub(crate) async fn unbind(&self, who: &Who<'_>) -> Result<ChannelBinding, Error> {
        let removed = self.stores.bindings.unbind(who).await.map_err(|error| of_store(&error))?;
        removed.ok_or_else(|| error::not_bound(who))
    }
}

fn new_etag() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
