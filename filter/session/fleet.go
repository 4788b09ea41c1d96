package session

// Answered is called when etcd has sent a message: the answer to a call, or the next message of a
// stream. The bytes are the worker's.
func (w *Worker) Answered(call uint32, message []byte) {}

// CallFailed is called when a call has failed, or a stream has ended, with gRPC's status and its
// message. The call may be one that [Calls] has never returned, as it could not be sent.
func (w *Worker) CallFailed(call uint32, status int, message string) {}
