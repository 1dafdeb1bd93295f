use tokio_util::sync::CancellationToken;

/// The moments of a shutdown that others have to know of. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    cut: CancellationToken,
    closed: CancellationToken,
}

impl Drain {
    /// Says that nothing new is to be begun.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Says that the time for finishing is over: whatever still runs ends now, and says so to its caller.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Says that connections are closed, whatever their peers have not read.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Whether nothing new is to be begun.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until nothing new is to be begun.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Returns a future that waits until whatever still runs must end.
    pub fn until_cut(&self) -> impl Future<Output = ()> + Send + 'static {
        self.cut.clone().cancelled_owned()
    }

    /// Waits until connections are closed.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}
