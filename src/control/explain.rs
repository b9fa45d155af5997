//! Says how a request would be handled at the moment, without sending it.

use crate::config::Config;
use crate::mem::buffer::Buffer;
use crate::policy::cache_key::Url;
use crate::policy::explain::{self, Question};
use crate::policy::sticky::Key;
use crate::policy::vary::Chosen;
use crate::shared::snapshot::Snapshot;

use super::answer::ApiResponse;
use super::cache::CacheAdmin;
use super::names::NameView;

/// Bytes that a head may grow by on its way, far more than it does.
const GROWTH: usize = 64 * 1024;

/// Explains requests to one service.
pub struct Explainer {
    config: Config,
    /// What sticky cookies are made with.
    key: Key,
    scratch: Buffer,
}

impl Explainer {
    /// For the service that `config` describes.
    pub fn new(config: &Config, key: Key) -> Explainer {
        // One for the life of the process.
        let scratch = Buffer::new(vec![0; config.head_limit() + GROWTH].leak());
        Explainer { config: config.clone(), key, scratch }
    }

    /// What would become of `question` now, also from what is stored.
    pub fn answer(
        &mut self,
        snapshot: &Snapshot<()>,
        names: &[NameView],
        question: &Question,
        cache: Option<&mut CacheAdmin>,
    ) -> ApiResponse {
        let Explainer { config, key, scratch } = self;
        let mut pools: Vec<_> = snapshot.pools.iter().map(|pool| pool.to_explain(config)).collect();
        for pool in &mut pools {
            let own = names.iter().filter(|name| name.pool == pool.name);
            pool.names = own.filter_map(NameView::trouble).collect();
        }
        let explanation = match cache {
            Some(cache) => {
                let mut lookup = |url: &Url<'_>, chosen: &Chosen<'_>, method| {
                    Some(cache.decision(url, chosen, method))
                };
                explain::explain_with(question, config, &pools, Some(key), scratch, &mut lookup)
            }
            None => explain::explain(question, config, &pools, Some(key), scratch),
        };
        match serde_json::to_string_pretty(&explanation) {
            Ok(text) => ApiResponse::json(200, text + "\n"),
            Err(error) => ApiResponse::error(500, &format!("the explanation is not JSON: {error}")),
        }
    }
}
