//! Pictures that are as wide as their place.

use maud::{Markup, html};

/// How wide the shapes of a picture are drawn, before they are stretched.
pub(super) const WIDTH: f64 = 1000.0;

/// A number with no more digits than can be seen.
pub(super) fn num(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{}%", format!("{:.2}", share * 100.0).trim_end_matches('0').trim_end_matches('.'))
}

/// A picture: `shapes` in a field that is [`WIDTH`] wide and stretched,
/// `marks` above it at shares of the real width.
pub(super) fn picture(height: f64, says: &str, shapes: &Markup, marks: &Markup) -> Markup {
    html! {
        svg.picture role="img" aria-label=(says) width="100%" height=(num(height)) {
            svg x="0" y="0" width="100%" height=(num(height))
                viewBox={ "0 0 " (num(WIDTH)) " " (num(height)) } preserveAspectRatio="none" {
                (shapes)
            }
            (marks)
        }
    }
}

/// Where a text begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A text at a share of the width.
pub(super) fn label(class: &str, share: f64, y: f64, anchor: Anchor, text: &str) -> Markup {
    let (anchor, shift) = match anchor {
        Anchor::Start => ("start", "3"),
        Anchor::Middle => ("middle", "0"),
        Anchor::End => ("end", "-3"),
    };
    html! {
        text class=(class) x=(percent(share)) dx=(shift) y=(num(y)) text-anchor=(anchor) { (text) }
    }
}

/// The data of a path, in the stretched field. `x` is a share of the width.
#[derive(Clone, Debug, Default)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn data(&self) -> &str {
        &self.0
    }

    pub(super) fn move_to(&mut self, x: f64, y: f64) {
        self.0 += &format!("M{} {}", num(x * WIDTH), num(y));
    }

    pub(super) fn line_to(&mut self, x: f64, y: f64) {
        self.0 += &format!("L{} {}", num(x * WIDTH), num(y));
    }

    pub(super) fn close(&mut self) {
        self.0.push('z');
    }

    /// An upright line.
    pub(super) fn upright(&mut self, x: f64, top: f64, bottom: f64) {
        self.0 += &format!("M{} {}V{}", num(x * WIDTH), num(top), num(bottom));
    }

    /// A box; one too narrow to be seen is made a little wider.
    pub(super) fn block(&mut self, from: f64, to: f64, top: f64, height: f64) {
        let wide = ((to - from) * WIDTH).max(0.8);
        self.0 += &format!(
            "M{} {}h{}v{}h-{}z",
            num(from * WIDTH),
            num(top),
            num(wide),
            num(height),
            num(wide)
        );
    }

    /// A point. It is seen if the path's stroke is wide and its ends are round,
    /// and stays round however the field is stretched.
    pub(super) fn point(&mut self, x: f64, y: f64) {
        self.0 += &format!("M{} {}h0", num(x * WIDTH), num(y));
    }

    /// The path, or nothing if there is nothing in it.
    pub(super) fn draw(&self, class: &str) -> Markup {
        html! { @if !self.is_empty() { path class=(class) d=(self.data()) {} } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 12.04, 12.06, -3.96].map(num), ["0", "12", "12.1", "-4"]);
        assert_eq!([0.0, 0.5, 0.123_45, 1.0].map(percent), ["0%", "50%", "12.35%", "100%"]);
    }

    #[test]
    fn text_stays_text() {
        let text = label("x", 0.5, 10.0, Anchor::Middle, "<b>&").into_string();
        assert!(text.ends_with(">&lt;b&gt;&amp;</text>"), "{text}");
        assert_eq!(Path::default().draw("x").into_string(), "");
    }
}
