/// How a request reached a service. Whoever accepts a connection, or calls in process, says so in the
/// request's extensions; a request that does not say is treated as public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A listener that faces callers: nothing that a request says of itself is believed.
    #[default]
    Public,
    /// A listener that faces the mesh alone: a mesh context is believed.
    Mesh,
    /// The same process.
    InProcess,
}

impl Origin {
    /// Whether a mesh context from there is believed.
    pub fn is_trusted(self) -> bool {
        self != Self::Public
    }
}
