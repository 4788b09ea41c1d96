// Event streams through Streamlatch, for pages: a module to copy. "A page that behaves" in
// envoy/README.md has an example.
//
// listen() uses an EventSource, read() uses fetch, for requests that an EventSource cannot send. Both
// name the page, which the rule reads with "instance": [{"query": "tab"}]. Both return a function
// that closes the stream, and call these functions, if they are there:
//
//   open()            the first event has come. Until then nobody knows: a refusal begins like a stream
//   event(e)          an event of the backend: e.type, e.data, e.lastEventId
//   wait(reason, ms)  there is no stream. It comes back by itself, after ms milliseconds if ms is known
//   stop(reason)      there is no stream, and it does not come back: the page has to call again
//
// The reason is the filter's, such as superseded or takeover_limit. It is "ended" if the stream ended
// without a word, and "rejected" if the answer was no event stream.

const page = Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join('');

function named(url, tab) {
  const address = new URL(url, document.baseURI);
  address.searchParams.set('tab', tab);
  return address;
}

// types are the names of the backend's events.
export function listen(url, on, {tab = page, types = ['message']} = {}) {
  const source = new EventSource(named(url, tab));
  let open = false, told = false;
  for (const type of types) {
    source.addEventListener(type, e => {
      const first = !open;
      open = true;
      if (first) on.open?.();
      on.event?.(e);
    });
  }
  source.addEventListener('streamlatch', e => {
    const {reason, retry_ms} = JSON.parse(e.data);
    [open, told] = [false, true];
    if (reason === 'superseded') {
      source.close(); // a newer stream has the place: to come back would be to fight for it
      on.stop?.(reason);
    } else {
      on.wait?.(reason, retry_ms); // the EventSource has been told, too, and keeps to it
    }
  });
  source.onerror = () => {
    const silent = !told;
    open = told = false;
    if (source.readyState === EventSource.CLOSED) on.stop?.('rejected');
    else if (silent) on.wait?.('ended');
  };
  return () => source.close();
}

// These refusals tell an EventSource to stop, by an error status.
const final = ['duplicate', 'too_long'];

// init is what fetch takes. Only a GET comes back after its stream has ended. Every request comes back
// when it was refused with a time to wait. For a POST, give the rule "claim_at": "request": then the
// backend has not seen a request that is refused.
export function read(url, on, {tab = page, ...init} = {}) {
  const closed = new AbortController(), headers = new Headers(init.headers);
  const last = {id: '', retry: 3000}; // what the stream has said, as an EventSource keeps it
  if (!headers.has('accept')) headers.set('accept', 'text/event-stream');

  // Returns why there is no stream, and how long to wait: 0, if it should not come back.
  async function once() {
    if (last.id) headers.set('last-event-id', String.fromCharCode(...new TextEncoder().encode(last.id)));
    const again = (init.method ?? 'GET') === 'GET';
    const response = await fetch(named(url, tab), {...init, headers, signal: closed.signal}).catch(() => null);
    if (!response) return ['ended', again && last.retry];
    if (!response.ok || !response.headers.get('content-type')?.startsWith('text/event-stream')) {
      const {reason = 'rejected'} = await response.json().catch(() => ({}));
      return [reason, !final.includes(reason) && 1000 * response.headers.get('retry-after')];
    }
    let open = false;
    for await (const e of events(response.body, last)) {
      if (e.type === 'streamlatch') {
        const {reason, retry_ms = last.retry} = JSON.parse(e.data);
        return [reason, again && retry_ms];
      }
      if (!open) on.open?.();
      open = true;
      on.event?.(e);
    }
    return ['ended', again && last.retry];
  }

  (async () => {
    for (;;) {
      const [reason, ms] = await once();
      if (closed.signal.aborted) return;
      if (reason === 'superseded' || !(ms > 0)) return on.stop?.(reason);
      on.wait?.(reason, ms);
      await new Promise(over => setTimeout(over, ms));
      if (closed.signal.aborted) return;
    }
  })();
  return () => closed.abort();
}

// Yields the events of a body, as the HTML standard has them. It keeps the last id and retry in last.
async function* events(body, last) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', type = '', data = [], id = last.id;
  try {
    for (;;) {
      const {value, done} = await reader.read().catch(() => ({done: true}));
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/); // a CR at the end may be half of a CRLF
      rest = lines.pop();
      for (const line of lines) {
        const [, field, text] = line.match(/^([^:]*):? ?([^]*)$/);
        if (line === '') {
          last.id = id;
          if (data.length) yield {type: type || 'message', data: data.join('\n'), lastEventId: id};
          [type, data] = ['', []];
        } else if (field === 'data') data.push(text);
        else if (field === 'event') type = text;
        else if (field === 'id' && !text.includes('\0')) id = text;
        else if (field === 'retry' && /^\d+$/.test(text)) last.retry = +text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
