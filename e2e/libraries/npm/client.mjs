// Runs one library of package.json in its default settings, or lists them.
//
//   node client.mjs                        a line {"library", "name"} for each library
//   node client.mjs LIBRARY CAUSE=URL ...  opens all URLs, each under the name of its cause
//
// It prints a line of JSON for all that a program learns from the library:
// {"cause", "what", "id", "text"}. What is open, event, error, or end: the library has stopped.
import {readFileSync} from 'node:fs'

// What has the interface of the browsers' EventSource.
const eventSource = (load, options) => async (url, say) => {
  const EventSource = await load()
  const source = new EventSource(url, options)
  source.onopen = () => say('open')
  source.onmessage = (e) => say('event', {id: e.lastEventId})
  source.onerror = (e) => {
    say('error', {text: e?.message ?? e?.type})
    setImmediate(() => source.readyState === 2 && say('end')) // some close themselves after the event
  }
}

// What returns a promise for the end of the stream.
const fetchEventSource = (load, options) => async (url, say) => {
  await (await load())(url, {
    ...options,
    onmessage: (e) => e.id && say('event', {id: e.id}),
  })
  say('end')
}

// A request that no EventSource of a browser can send.
const post = {method: 'POST', body: '{}'}

const eventSourceClient = (options) => async (url, say) => {
  const {createEventSource} = await import('eventsource-client')
  createEventSource({
    ...options,
    url,
    onConnect: () => say('open'),
    onMessage: (e) => e.id && say('event', {id: e.id}),
    onDisconnect: () => say('error'),
  })
}

const eventSourcePlus = (options) => async (url, say) => {
  const {EventSourcePlus} = await import('event-source-plus')
  const controller = new EventSourcePlus(url, options).listen({
    onMessage: (e) => e.id && say('event', {id: e.id}),
    onResponseError: (e) => say('error', {text: String(e.error)}),
  })
  controller.onAbort((e) => say('end', {text: e.type}))
}

// What @microsoft/fetch-event-source needs of a browser.
const inWindow = async (load) => {
  globalThis.window = globalThis
  globalThis.document = {hidden: false, addEventListener() {}, removeEventListener() {}}
  return await load()
}
const microsoft = () => inWindow(async () => (await import('@microsoft/fetch-event-source')).default.fetchEventSource)
const fortaine = async () => (await import('@fortaine/fetch-event-source')).fetchEventSource

const libraries = {
  'eventsource-1': eventSource(async () => (await import('eventsource-1')).default),
  'eventsource-2': eventSource(async () => (await import('eventsource-2')).default),
  'eventsource-3': eventSource(async () => (await import('eventsource-3')).EventSource),
  'eventsource-4': eventSource(async () => (await import('eventsource-4')).EventSource),
  'eventsource-5': eventSource(async () => (await import('eventsource-5')).EventSource),
  'reconnecting-eventsource': eventSource(async () => (await import('reconnecting-eventsource')).default,
    {eventSourceClass: (await import('eventsource-4')).EventSource}),
  'event-source-polyfill': eventSource(async () => (await import('event-source-polyfill')).default.EventSourcePolyfill),
  'extended-eventsource': eventSource(async () => (await import('extended-eventsource')).EventSource),
  'launchdarkly-eventsource': eventSource(async () => (await import('launchdarkly-eventsource')).default.EventSource),
  '@heroku/eventsource': eventSource(async () => (await import('@heroku/eventsource')).default),
  'eventsource-client': eventSourceClient({}),
  'eventsource-client, POST': eventSourceClient(post),
  'event-source-plus': eventSourcePlus({}),
  'event-source-plus, POST': eventSourcePlus(post),
  '@microsoft/fetch-event-source': fetchEventSource(microsoft, {}),
  '@microsoft/fetch-event-source, POST': fetchEventSource(microsoft, post),
  '@fortaine/fetch-event-source': fetchEventSource(fortaine, {}),
}

// The name is that of the package that npm installed for the library, and its version.
function nameOf(library) {
  const [dependency, method] = library.split(', ')
  const {name, version} = JSON.parse(readFileSync(`node_modules/${dependency}/package.json`))
  return `npm ${name} ${version}` + (method ? `, ${method}` : '')
}

const [library, ...causes] = process.argv.slice(2)
const print = (line) => console.log(JSON.stringify(line))
if (!library) {
  for (const library in libraries) print({library, name: nameOf(library)})
} else {
  setInterval(() => {}, 1 << 30) // eventsource-5 lets the process end while it waits
}
for (const argument of causes) {
  const [cause, url] = [argument.slice(0, argument.indexOf('=')), argument.slice(argument.indexOf('=') + 1)]
  const say = (what, more) => print({cause, what, ...more})
  libraries[library](url, say).catch((e) => {
    say('error', {text: String(e)})
    say('end')
  })
}
