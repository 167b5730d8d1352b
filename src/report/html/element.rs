//! HTML that cannot hold what its texts say: every text and every attribute is escaped here, and only here.

use std::fmt::Write;

/// Finished HTML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Markup of our own making.
    pub fn trusted(markup: String) -> Self {
        Html(markup)
    }

    /// Appends.
    pub fn push(&mut self, more: impl Into<Html>) {
        self.0.push_str(&more.into().0);
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tags without an end.
const VOID: [&str; 4] = ["br", "img", "link", "meta"];

/// An element under construction.
#[derive(Debug, Clone)]
pub struct Element {
    tag: &'static str,
    attributes: String,
    children: String,
}

/// `<tag>`.
pub fn el(tag: &'static str) -> Element {
    Element { tag, attributes: String::new(), children: String::new() }
}

impl Element {
    pub fn attr(mut self, name: &'static str, value: &str) -> Self {
        self.attributes.push(' ');
        self.attributes.push_str(name);
        self.attributes.push_str("=\"");
        escape(value, &mut self.attributes);
        self.attributes.push('"');
        self
    }

    pub fn class(self, class: &str) -> Self {
        self.attr("class", class)
    }

    pub fn text(mut self, text: &str) -> Self {
        escape(text, &mut self.children);
        self
    }

    pub fn child(mut self, child: impl Into<Html>) -> Self {
        self.children.push_str(&child.into().0);
        self
    }

    pub fn children<T: Into<Html>>(self, children: impl IntoIterator<Item = T>) -> Self {
        children.into_iter().fold(self, Element::child)
    }
}

impl From<Element> for Html {
    fn from(element: Element) -> Html {
        let Element { tag, attributes, children } = element;
        let mut html = String::with_capacity(children.len() + attributes.len() + 2 * tag.len() + 8);
        // Writing to a string does not fail.
        let _ = match VOID.contains(&tag) {
            true => write!(html, "<{tag}{attributes}>"),
            false => write!(html, "<{tag}{attributes}>{children}</{tag}>"),
        };
        Html(html)
    }
}

/// Appends `text` so that HTML shows it as it is, in texts and in quoted attributes.
fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            '\t' | '\n' => into.push(c),
            c if c.is_control() => into.push('\u{fffd}'),
            c => into.push(c),
        }
    }
}

/// A table whose first column is text and whose others are numbers; wide ones scroll in their own box.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Html {
    let cell = |tag: &'static str, column: usize, text: &str| {
        let cell = el(tag).text(text);
        if column > 0 { cell.class("n") } else { cell }
    };
    let heading = headings.iter().enumerate().map(|(column, text)| cell("th", column, text).attr("scope", "col"));
    let body = rows
        .into_iter()
        .map(|row| el("tr").children(row.iter().enumerate().map(|(column, text)| cell("td", column, text))));
    let table = el("table").child(el("thead").child(el("tr").children(heading))).child(el("tbody").children(body));
    el("div").class("scroll").attr("tabindex", "0").child(table).into()
}

/// A paragraph in which what stands between backticks is code.
pub fn p(text: &str) -> Element {
    text.split('`').enumerate().fold(el("p"), |paragraph, (index, part)| match index % 2 {
        0 => paragraph.text(part),
        _ => paragraph.child(el("code").text(part)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_attributes_are_inert() {
        let element = el("p").attr("title", "a\" onclick=\"x").text("<script>alert('1')</script>&\u{0}");
        let html = Html::from(element);
        assert_eq!(
            html.as_str(),
            "<p title=\"a&quot; onclick=&quot;x\">&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\u{fffd}</p>"
        );
    }
}
