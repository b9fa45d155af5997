//! What operators are shown: the page, the metrics, the pools.

use crate::control::answer::ApiResponse;
use crate::control::held_pages::HeldPages;
use crate::control::page::{PageContent, PageWindow};
use crate::control::recent::Listing;
use crate::control::{diary, json, metrics, names_shown, page, verdict};

use super::Commands;

impl Commands {
    pub(super) fn page(&mut self, window: PageWindow) -> ApiResponse {
        let text = self.text(Listing::Page(window), |commands| commands.render_page(window));
        // A text that is given to several must not have the same name for all of them.
        let body = text.replace(page::OWN_NAME, &HeldPages::new_name());
        ApiResponse { status: 200, content_type: page::CONTENT_TYPE, body, fields: page::FIELDS }
    }

    fn render_page(&mut self, window: PageWindow) -> String {
        let view = self.view();
        let now = self.now.clock;
        let is_refused = view.service.snapshot.last_reload_failed;
        let (line, pool_lines) = self.viewer.lines(&view.pools, now);
        page::render(&PageContent {
            window,
            line,
            pool_lines,
            events: diary::events(&self.diary, page::EVENTS),
            refusal: self.diary.refusal().filter(|_| is_refused),
            view: &view,
        })
    }

    /// The page of this name is not refreshed any more.
    pub(super) fn hold(&mut self, name: &str) -> ApiResponse {
        self.held_pages.hold(name);
        let body = String::from(page::EMPTY_IMAGE);
        ApiResponse { status: 200, content_type: page::IMAGE_TYPE, body, fields: page::FIELDS }
    }

    pub(super) fn metrics(&mut self) -> ApiResponse {
        let body = self.text(Listing::Metrics, |commands| {
            let names = names_shown::render(&commands.names.view(commands.now));
            metrics::render(&commands.totals()) + &names + &commands.registry_metrics()
        });
        ApiResponse { status: 200, content_type: metrics::CONTENT_TYPE, body, fields: "" }
    }

    pub(super) fn status(&mut self) -> ApiResponse {
        let text = self.text(Listing::Status, |commands| {
            let service = commands.viewer.service(commands.cache_bytes(), commands.now);
            let pools = commands.viewer.pools(commands.now);
            json::status(&service, &verdict::of_all(&service, &pools))
        });
        ApiResponse::json(200, text)
    }

    pub(super) fn pools(&mut self) -> ApiResponse {
        let make = |commands: &mut Commands| json::pools(&commands.viewer.pools(commands.now));
        ApiResponse::json(200, self.text(Listing::Pools, make))
    }

    pub(super) fn pool(&mut self, name: &str) -> Result<ApiResponse, ApiResponse> {
        let pool = self.segment.find_pool(name);
        let pool =
            pool.ok_or_else(|| ApiResponse::error(404, &format!("there is no pool \"{name}\"")))?;
        let text = self.text(Listing::Pool(pool), |commands| {
            json::pool(&commands.viewer.pool(pool, commands.now))
        });
        Ok(ApiResponse::json(200, text))
    }
}
