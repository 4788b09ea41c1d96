// The demo page: two devices of one user, and between them what the backend has. The devices use the
// module that pages copy, one by its EventSource and one by its fetch.
import {listen, read} from './streamlatch.js';

const at = id => document.getElementById(id);
const client = new URLSearchParams(location.search).get('client') || 'demo';
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const fleet = await fetch('demo/envoys').then(r => r.json()).catch(() => 1) > 1; // a device at each Envoy
const tabs = new Map(); // the devices, by all names that they have had
let filtered = true;

const ask = path => fetch(`demo/${path}`, {method: 'POST'});
const user = `client=${encodeURIComponent(client)}`;

// line puts a line at the top of a list.
function line(list, text, date = new Date(), most = 9) {
  const item = document.createElement('li'), time = document.createElement('time');
  time.textContent = date.toLocaleTimeString('en-GB');
  item.append(time, text);
  list.prepend(item);
  while (list.children.length > most) list.lastChild.remove();
}

const log = text => line(at('log'), text, new Date(), 60);

const milliseconds = ms => ms < 100 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
const count = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`;

// Why a device has no stream, in words: what the module tells, and what to say.
const reasons = {
  superseded: ['taken', 'Taken over', 'A newer stream has its place. Reload takes it back.'],
  takeover_limit: ['refused', 'Refused', 'Too many takeovers in a row (takeover_limit).'],
  overloaded: ['refused', 'Refused', 'Envoy has as many streams as it may have (overloaded).'],
  contended: ['refused', 'Refused', 'Envoy could not decide in time (contended).'],
  expired: ['cut', 'Ended', 'The stream has reached its age limit.'],
  ended: ['cut', 'Cut off', 'The connection broke. The device connects again.'],
  rejected: ['stopped', 'Refused', 'The answer is not an event stream.'],
};

class Device {
  constructor(name, title, open, way, envoy) {
    Object.assign(this, {name, title, way: open, envoy: fleet ? envoy : 0});
    const card = at('device').content.cloneNode(true);
    this.card = card.querySelector('section');
    this.card.id = `device-${name}`;
    this.at = selector => this.card.querySelector(selector);
    this.at('h2').textContent = title;
    this.at('h2').id = `${name}-name`;
    this.at('.events').setAttribute('aria-label', `Events of the ${name}`);
    this.card.setAttribute('aria-labelledby', `${name}-name`);
    this.at('.picture use').setAttribute('href', `#${name}`);
    this.at('.way').textContent = fleet ? `${way}, Envoy ${'AB'[envoy]}` : way;
    for (const [button, press] of Object.entries({open: () => this.openFirst(), reload: () => this.reload(), network: () => this.network()})) {
      this.at(`.${button}`).onclick = press;
      this.at(`.${button}`).setAttribute('aria-describedby', `${name}-name`);
    }
    at('stage').append(card);
    this.leave();
  }

  show(state, word, why) {
    this.card.dataset.state = state;
    this.at('.word use').setAttribute('href', `#${state}`);
    this.at('.word strong').textContent = word;
    this.at('.why').textContent = why;
    clearInterval(this.timer);
    this.at('.countdown').hidden = true;
    this.at('.open').hidden = state !== 'off';
    this.at('.reload').hidden = this.at('.network').hidden = state === 'off';
  }

  // The device has no page open.
  leave() {
    this.close?.();
    this.at('.events').replaceChildren();
    this.show('off', 'Not open', 'The same user, on another device.');
  }

  openFirst() {
    this.reload();
    this.at('.reload').focus();
  }

  // A page that is loaded has a new name.
  reload() {
    this.tab = crypto.getRandomValues(new Uint32Array(2)).join('-');
    tabs.set(this.tab, this);
    this.connect();
  }

  connect() {
    this.close?.();
    this.show('connecting', 'Connecting', 'The device asks for the stream.');
    const address = `demo/line/${filtered ? '' : 'off/'}events?${user}&envoy=${this.envoy}`;
    this.close = this.way(address, {
      open: () => {
        this.show('open', 'Open', 'This device gets the events.');
        log(`${this.title}: open`);
      },
      event: e => {
        const {id, time} = JSON.parse(e.data);
        line(this.at('.events'), `Event ${id}`, new Date(time));
      },
      wait: (reason, ms) => this.lose(reason, ms),
      stop: reason => this.lose(reason),
    }, {tab: this.tab});
  }

  lose(reason, ms) {
    const [state, word, why] = reasons[reason] ?? ['stopped', 'Refused', `The reason is ${reason}.`];
    this.show(state, word, why);
    if (state === 'refused' && ms) this.countDown(ms);
    log(`${this.title}: ${word.toLowerCase()}${state === 'refused' ? ` (${reason})` : ''}`);
  }

  countDown(ms) {
    const over = performance.now() + ms, text = this.at('.countdown p');
    const tell = () => {
      const left = Math.ceil((over - performance.now()) / 1000);
      text.textContent = left > 0 ? `Tries again in ${left} s` : 'Tries again now';
    };
    this.at('.countdown').hidden = false;
    this.at('.bar').animate([{transform: 'scaleX(1)'}, {transform: 'scaleX(0)'}], {duration: ms, fill: 'forwards'});
    this.timer = setInterval(tell, 200);
    tell();
  }

  async network() {
    const {cut} = await (await ask(`cut?${user}&tab=${this.tab}`)).json();
    log(cut ? `${this.title}: new network. Nobody tells Envoy` : `${this.title}: new network, but it has no stream to lose`);
  }
}

const laptop = new Device('laptop', 'Laptop', listen, 'EventSource', 0);
const phone = new Device('phone', 'Phone', read, 'fetch', 1);
at('stage').prepend(laptop.card);
const title = tab => tabs.get(tab)?.name ?? 'another page or program';

// begin starts everything anew: what is left of lost connections ends, and one device opens.
async function begin() {
  for (const device of [laptop, phone]) device.leave();
  at('stage').dataset.filter = filtered ? 'on' : 'off';
  at('filter').setAttribute('aria-checked', filtered);
  at('filter').querySelector('.word').textContent = filtered ? 'On' : 'Off';
  await ask(`over?${user}`).catch(() => {}); // the feed tells if the backend does not answer
  wasted = 0;
  stopWatch('No takeover yet.');
  laptop.reload();
}

at('filter').onclick = () => {
  filtered = !filtered;
  log(`Filter ${filtered ? 'on' : 'off'}: everything starts anew`);
  begin();
};

at('kick').onclick = async () => {
  const response = await ask(`kick?${user}`);
  if (response.ok) log(`Kick: the filter ended ${count((await response.json()).streams, 'stream')}`);
  else log(response.status === 404 ? 'Kick: the filter knows no stream of this user' : 'Kick: Envoy does not answer');
};

// What follows shows the state that the backend tells at each change.

const dots = new Map(); // by the id of the stream: its element, and what it showed last
let crowdedSince = null, lastTakeover = null, wasted = 0;

function dotOf(stream) {
  const item = document.createElement('li');
  item.innerHTML = '<span class="wire"><span class="spark"></span></span><span class="dot"></span><span class="says"></span>';
  item.dataset.device = tabs.get(stream.tab)?.name ?? 'other';
  const dot = {item, events: stream.events, lost: null};
  dots.set(stream.id, dot);
  return dot;
}

function beat({item}) {
  if (calm.matches) return;
  const to = item.dataset.device === 'laptop' ? ['100%', '0%'] : ['0%', '100%'];
  item.querySelector('.dot').animate([{boxShadow: '0 0 0 0 var(--pulse)'}, {boxShadow: '0 0 0 .6rem transparent'}], 700);
  item.querySelector('.spark').animate([{left: to[0], opacity: 1}, {left: to[1], opacity: 0}], {duration: 600, easing: 'ease-out'});
}

function showStreams(streams) {
  for (const stream of streams) {
    const dot = dots.get(stream.id) ?? dotOf(stream);
    if (dot.lost !== stream.lost) {
      dot.lost = stream.lost;
      dot.item.querySelector('.says').textContent = `${title(stream.tab)}${stream.lost ? ', nobody reads it' : ''}`;
      at(stream.lost ? 'unread' : 'read').append(dot.item);
    }
    if (stream.events > dot.events) {
      if (stream.lost) wasted += stream.events - dot.events;
      dot.events = stream.events;
      beat(dot);
    }
  }
  const open = new Set(streams.map(stream => stream.id));
  for (const [id, {item}] of dots) {
    if (open.has(id)) continue;
    dots.delete(id);
    item.classList.add('gone');
    item.inert = true;
    setTimeout(() => item.remove(), calm.matches ? 0 : 500);
  }
}

// set changes a text only if it is another one, so that a screen reader speaks once.
function set(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function showNumbers(streams) {
  const unread = streams.filter(stream => stream.lost).length;
  at('stage').dataset.crowded = streams.length > 1 || unread ? 'yes' : 'no';
  set('number', String(streams.length));
  set('number-of', streams.length === 1 ? 'open stream' : 'open streams');
  set('unread-number', ['', 'Nobody reads this one.'][unread] ?? `Nobody reads these ${unread}.`);
  set('wasted', wasted && unread ? `${count(wasted, 'event')} sent to nobody` : '');
}

function stopWatch(why, time = '–') {
  crowdedSince = null;
  at('watch').dataset.runs = 'no';
  set('time', time);
  set('time-of', why);
}

function runWatch() {
  if (crowdedSince === null) return;
  at('watch').dataset.runs = 'yes';
  set('time', `${((performance.now() - crowdedSince) / 1000).toFixed(1)} s`);
  set('time-of', 'with more than one stream, and it goes on.');
}
setInterval(runWatch, 100);

function showTakeovers(takeovers) {
  for (const {id, from, to, ms} of takeovers) {
    if (id <= lastTakeover) continue;
    if (lastTakeover !== null) {
      const who = `${tabs.has(to) ? 'the ' : ''}${title(to)}${from === to && from ? ', on a new connection' : ''}`;
      stopWatch(`until the old stream had ended. The new one is that of ${who}.`, milliseconds(ms));
      log(`Takeover by ${who}, in ${milliseconds(ms)}`);
    }
    lastTakeover = id;
  }
  lastTakeover ??= 0; // those from before this page was loaded are not shown
}

const feed = new EventSource(`demo/feed?${user}`);
feed.onmessage = e => {
  const {streams, crowded_ms, takeovers} = JSON.parse(e.data);
  showStreams(streams);
  showNumbers(streams);
  if (crowded_ms === null && crowdedSince !== null) stopWatch('The newer stream has left.');
  showTakeovers(takeovers);
  if (crowded_ms !== null) crowdedSince = performance.now() - crowded_ms;
  runWatch();
};
feed.onerror = () => {
  set('number', '?');
  set('number-of', 'The demo’s backend does not answer.');
};

if (fleet) at('filter-name').textContent = 'Filter in both Envoys';
for (const part of document.querySelectorAll('.fleet')) part.hidden = !fleet;
at('curl').textContent = `curl -N '${location.origin}/events?${user}' -H 'accept: text/event-stream'`;
begin();
