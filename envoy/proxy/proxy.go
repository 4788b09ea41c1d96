// Package proxy gets and runs the real Envoy, for the quick start and for the end-to-end tests.
//
//   - [Find] returns the path of an Envoy: the one the user names, the one on PATH, or a pinned one that it fetches.
//   - [FindImage] does the same for an image, and a container engine runs it.
//   - [Start] runs one and returns when it serves, from a [Launcher]: a binary or a container's image. An Envoy started
//     here never outlives the program that started it, and is always waited for.
//   - [Admin] reads what Envoy tells about itself: statistics, and the ports it was given where 0 was asked for.
//
// Nothing here needs the filter or the test host, and nothing but the standard library.
package proxy
