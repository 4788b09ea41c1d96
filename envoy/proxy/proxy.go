// Package proxy finds and runs a real Envoy, for the quick start and for the end-to-end tests.
//
//   - [Find] returns the path of an Envoy: the one that the user names, the one on PATH, or a
//     pinned version, which it downloads.
//   - [FindImage] returns an Envoy in a container image.
//   - [Start] runs either of them and returns when it serves. The caller stops it; on Linux it also
//     ends when the program that started it is killed.
//   - [Admin] reads Envoy's statistics and the ports that the system chose.
//
// The package knows nothing of the filter.
package proxy
