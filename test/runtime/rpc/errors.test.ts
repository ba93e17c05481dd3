import { Metadata, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { DETAILS_KEY } from '../../../runtime/rpc/error-details';
import { fromServiceError, REASON_KEY, RpcError, toStatus } from '../../../runtime/rpc/errors';

function received(error: unknown): RpcError {
  return fromServiceError(Object.assign(new Error('7 PERMISSION_DENIED: no'), toStatus(error)) as ServiceError);
}

function withTrailers(trailers: Record<string, string>): RpcError {
  const metadata = Metadata.fromHttp2Headers(trailers);
  return fromServiceError(Object.assign(new Error('x'), { code: status.ABORTED, details: 'x', metadata }));
}

test('code, status, message and details cross the wire', () => {
  const sent = new RpcError('login.evidence_refused', status.FAILED_PRECONDITION, 'its evidence is refused', {
    details: { refusal: 'identity.client_key', retryAfterSeconds: 3 },
  });
  const { code, grpcStatus, message, details } = received(sent);
  expect({ code, grpcStatus, message, details }).toEqual({
    code: 'login.evidence_refused',
    grpcStatus: status.FAILED_PRECONDITION,
    message: 'its evidence is refused',
    details: { refusal: 'identity.client_key', retryAfterSeconds: 3 },
  });
});

test('no details, no trailer', () => {
  const { metadata } = toStatus(new RpcError('login.busy', status.RESOURCE_EXHAUSTED, 'busy'));
  expect(metadata?.getMap()).toEqual({ [REASON_KEY]: 'login.busy' });
});

test('nothing of an inner error crosses it, neither text nor code', () => {
  const inner = Object.assign(new Error('connect ECONNREFUSED 10.0.0.7:5432'), {
    code: 'ECONNREFUSED',
    details: { refusal: 'policy.node' },
  });
  const { code, details, metadata } = toStatus(inner);
  expect({ code, details }).toEqual({ code: status.INTERNAL, details: 'internal error' });
  expect(metadata?.getMap()).toEqual({ [REASON_KEY]: 'internal' });
});

test('the cause of what crosses it stays behind', () => {
  const sent = toStatus(
    new RpcError('store.unavailable', status.UNAVAILABLE, 'try again', { cause: new Error('password=hunter2') }),
  );
  expect(JSON.stringify([sent, sent.metadata?.getMap()])).not.toContain('hunter2');
});

test('a code of a later release is kept as it came; without one it is that of the status', () => {
  expect(withTrailers({ [REASON_KEY]: 'login.of_next_year' }).code).toBe('login.of_next_year');
  expect(withTrailers({}).code).toBe('rpc.aborted');
});

test.each([
  ['not JSON', 'nothing', {}],
  ['not an object', '[]', {}],
  ['longer than any', JSON.stringify({ refusal: 'policy.node', padding: 'x'.repeat(2000) }), {}],
  [
    'a refusal that is no code',
    JSON.stringify({ refusal: '\u001b[2J', retry_after_seconds: 5 }),
    { retryAfterSeconds: 5 },
  ],
  [
    'a time that is none',
    JSON.stringify({ refusal: 'policy.node', retry_after_seconds: -1 }),
    { refusal: 'policy.node' },
  ],
  ['fields of a later release', JSON.stringify({ refusal: 'policy.node', later: {} }), { refusal: 'policy.node' }],
])('details that are %s: what is well-formed is taken', (_, text, details) => {
  const error = withTrailers({ [REASON_KEY]: 'login.evidence_refused', [DETAILS_KEY]: text.replace('\u001b', '?') });
  expect(error.code).toBe('login.evidence_refused');
  expect(error.details).toEqual(details);
});

test('what grpc-js refuses for its size is told apart from a service that is busy', () => {
  const refused = (details: string): string =>
    fromServiceError({ code: status.RESOURCE_EXHAUSTED, details, message: details } as ServiceError).code;
  expect(refused('Received message larger than max (100049 vs 32768)')).toBe('rpc.too_large');
  expect(refused('Bandwidth exhausted or memory limit exceeded')).toBe('rpc.resource_exhausted');
});
