//! Rust's tokens, as far as the checks need them: identifiers and punctuation with their lines, comments apart, and
//! strings and characters reduced to one token, so that no word in them is taken for code.

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// An identifier, keyword or number as written; one character of punctuation; `"` for any literal text.
    pub text: &'a str,
    /// Counted from 1.
    pub line: usize,
}

/// A source file.
#[derive(Debug, Default)]
pub struct Source<'a> {
    pub tokens: Vec<Token<'a>>,
    /// Comments, documentation included, with the line they begin in.
    pub comments: Vec<Token<'a>>,
}

impl Source<'_> {
    /// The lines in which these tokens begin, one after the other.
    pub fn find(&self, pattern: &[&str]) -> Vec<usize> {
        let is_here = |w: &[Token<'_>]| w.iter().zip(pattern).all(|(token, text)| token.text == *text);
        self.tokens.windows(pattern.len()).filter(|w| is_here(w)).map(|w| w[0].line).collect()
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

/// Splits a file.
pub fn lex(text: &str) -> Source<'_> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut source = Source::default();
    while let Some(c) = lexer.peek() {
        let (from, line) = (lexer.at, lexer.line);
        let rest = lexer.rest();
        if c.is_whitespace() {
            lexer.bump();
        } else if rest.starts_with("//") {
            lexer.skip(rest.find('\n').unwrap_or(rest.len()));
            source.comments.push(Token { text: &text[from..lexer.at], line });
        } else if rest.starts_with("/*") {
            lexer.block_comment();
            source.comments.push(Token { text: &text[from..lexer.at], line });
        } else if let Some(is_raw) = lexer.literal_prefix() {
            lexer.string(is_raw);
            source.tokens.push(Token { text: "\"", line });
        } else if c == '\'' || rest.starts_with("b'") {
            lexer.skip(usize::from(c == 'b'));
            if lexer.character_or_lifetime() {
                source.tokens.push(Token { text: "\"", line });
            }
        } else if is_word(c) {
            // `r#name` is `name`.
            let raw = usize::from(rest.starts_with("r#")) * 2;
            lexer.skip(raw);
            let from = lexer.at;
            lexer.skip_while(is_word);
            source.tokens.push(Token { text: &text[from..lexer.at], line });
        } else {
            lexer.bump();
            source.tokens.push(Token { text: &text[from..lexer.at], line });
        }
    }
    source
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.line += usize::from(c == '\n');
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip(&mut self, bytes: usize) {
        let end = self.at + bytes;
        while self.at < end && self.bump().is_some() {}
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while !self.rest().is_empty() {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.skip(2);
                if depth == 0 {
                    return;
                }
            } else {
                self.bump();
            }
        }
    }

    /// At the start of a string? Steps over its prefix (`b`, `c`, `r`, `br`, `cr`) and says whether it is raw.
    fn literal_prefix(&mut self) -> Option<bool> {
        for (prefix, is_raw) in [("", false), ("b", false), ("c", false), ("r", true), ("br", true), ("cr", true)] {
            let Some(rest) = self.rest().strip_prefix(prefix) else { continue };
            let opens = if is_raw { rest.trim_start_matches('#').starts_with('"') } else { rest.starts_with('"') };
            if opens {
                self.skip(prefix.len());
                return Some(is_raw);
            }
        }
        None
    }

    fn string(&mut self, is_raw: bool) {
        let hashes = self.rest().chars().take_while(|c| is_raw && *c == '#').count();
        self.skip(hashes + 1);
        if is_raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let len = self.rest().find(&end).map_or(self.rest().len(), |at| at + end.len());
            self.skip(len);
            return;
        }
        while let Some(c) = self.bump() {
            match c {
                '\\' => _ = self.bump(),
                '"' => return,
                _ => {}
            }
        }
    }

    /// Steps over either; `true` for a character.
    fn character_or_lifetime(&mut self) -> bool {
        self.bump();
        let mut ahead = self.rest().chars();
        match (ahead.next(), ahead.next()) {
            (Some('\\'), _) => {
                self.skip(2);
                self.skip_while(|c| c != '\'');
                self.bump();
                true
            }
            (Some(_), Some('\'')) => {
                self.bump();
                self.bump();
                true
            }
            _ => {
                self.skip_while(is_word);
                false
            }
        }
    }
}

fn words(text: &str) -> Vec<&str> {
    lex(text).tokens.iter().map(|t| t.text).collect()
}

#[test]
fn comments_and_strings_hold_no_tokens() {
    assert_eq!(words("a // unsafe\n/* unsafe /* nested */ unsafe */ b"), ["a", "b"]);
    assert_eq!(words(r##"f("unsafe \" unsafe", r#"un"safe"#, b"x", br"\", c"y")"##).join(""), r#"f(",",",",")"#);
    assert_eq!(words("'u' 'unsafe_ '\\'' '\\u{1F600}' b'\"' x"), ["\"", "\"", "\"", "\"", "x"]);
    assert_eq!(words("&'a str; r#unsafe; 1.5e3"), ["&", "str", ";", "unsafe", ";", "1", ".", "5e3"]);
    assert_eq!(lex("x\n// one\n\"a\nb\" y /* z */").comments.iter().map(|c| c.line).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn lines_are_counted_through_strings() {
    let source = lex("\"a\nb\"\nunsafe { }\n  unsafe");
    assert_eq!(source.find(&["unsafe"]), [3, 4]);
    assert_eq!(source.find(&["unsafe", "{"]), [3]);
    assert_eq!(source.find(&["nothing"]), [] as [usize; 0]);
}
