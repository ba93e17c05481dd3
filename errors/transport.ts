/** A status of gRPC's that came without a code of ours, by its canonical name in lower case. */
type StatusCode = `rpc.${
  | 'ok'
  | 'cancelled'
  | 'unknown'
  | 'invalid_argument'
  | 'deadline_exceeded'
  | 'not_found'
  | 'already_exists'
  | 'permission_denied'
  | 'resource_exhausted'
  | 'failed_precondition'
  | 'aborted'
  | 'out_of_range'
  | 'unimplemented'
  | 'internal'
  | 'unavailable'
  | 'data_loss'
  | 'unauthenticated'}`;

/** For whoever makes calls: what can happen to any of them. */
export type TransportCode =
  | StatusCode
  /** Something that the caller isn't told. The called program's log says what. */
  | 'internal'
  /** The stream carried nothing for as long as its method allows. */
  | 'rpc.idle'
  /** More calls wait for their turn than the service keeps. */
  | 'rpc.busy'
  /** Caller and service have no version of the protocol in common: the caller is of too old a release, or of too new a one. */
  | 'rpc.client_too_old'
  | 'rpc.client_too_new'
  /** The request is larger than its method takes. */
  | 'rpc.too_large'
  /** The request is not its method's message, or holds text that is no UTF-8. */
  | 'rpc.malformed'
  /** The health service has too many watchers. */
  | 'health.busy'
  | 'health.unknown_service';
