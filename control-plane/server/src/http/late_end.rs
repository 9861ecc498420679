//! A body whose end is told one poll after its last bytes.
//!
//! The multipart parser (multer 3.1) polls the body twice in a row while it looks for the first boundary. When
//! nothing is there at the first poll and the whole body with its end is there at the second, it takes the end for
//! a broken stream without having looked at the bytes. That happens to small forms on a busy machine.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;

/// The stream `S`, whose end is announced by one `Pending`.
pub(super) struct LateEnd<S> {
    inner: S,
    ended: bool,
}

impl<S> LateEnd<S> {
    /// Over `inner`.
    pub(super) fn new(inner: S) -> Self {
        Self { inner, ended: false }
    }
}

impl<S: Stream + Unpin> Stream for LateEnd<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_next(context) {
            Poll::Ready(None) => {
                self.ended = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use axum::{
        body::Body,
        extract::{FromRequest as _, Multipart},
    };
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    /// Nothing at the first poll, everything and the end at the second.
    fn late_form() -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Unpin + Send + 'static {
        let form = "--b\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n{}\r\n--b--\r\n";
        let mut polls = 0;
        stream::poll_fn(move |context| {
            polls += 1;
            match polls {
                1 => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                2 => Poll::Ready(Some(Ok(Bytes::from_static(form.as_bytes())))),
                _ => Poll::Ready(None),
            }
        })
    }

    async fn first_part(body: Body) -> Result<Option<Bytes>, String> {
        let request = http::Request::builder()
            .header("content-type", "multipart/form-data; boundary=b")
            .body(body)
            .map_err(|error| error.to_string())?;
        let mut form = Multipart::from_request(request, &())
            .await
            .map_err(|error| error.to_string())?;
        match form.next_field().await.map_err(|error| error.body_text())? {
            Some(part) => part.bytes().await.map(Some).map_err(|error| error.body_text()),
            None => Ok(None),
        }
    }

    #[tokio::test]
    async fn a_form_that_comes_all_at_once_is_read() {
        let body = Body::from_stream(LateEnd::new(late_form()));
        assert_eq!(first_part(body).await, Ok(Some(Bytes::from_static(b"{}"))));
    }

    #[test]
    fn the_end_comes_one_poll_late_and_stays() {
        let mut stream = LateEnd::new(stream::iter([1]));
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut stream).poll_next(&mut context);
        assert_eq!(poll(), Poll::Ready(Some(1)));
        assert_eq!(poll(), Poll::Pending);
        assert_eq!(poll(), Poll::Ready(None));
        assert_eq!(poll(), Poll::Ready(None));
    }
}
