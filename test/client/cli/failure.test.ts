import { status } from '@grpc/grpc-js';
import { LogError } from '../../../attestation/transparency/errors';
import { AttestationRefused } from '../../../client';
import type { CliError } from '../../../client/cli/exit';
import { EXIT } from '../../../client/cli/exit';
import { toCliError } from '../../../client/cli/failure';
import type { WireCode } from '../../../errors/codes';
import { ConfigError } from '../../../runtime/config/environment';
import { RpcError } from '../../../runtime/rpc/errors';

const rpc = (code: WireCode, grpcStatus: status): CliError => toCliError(new RpcError(code, grpcStatus, 'no'));

test.each<[WireCode, status, number, string | undefined]>([
  ['login.wrong_credentials', status.UNAUTHENTICATED, EXIT.authentication, 'log in again: sls login'],
  ['login.revoked', status.UNAUTHENTICATED, EXIT.authentication, 'ask your operator'],
  ['seat.none_free', status.RESOURCE_EXHAUSTED, EXIT.unavailable, 'sls seats list'],
  ['seat.lapsed', status.FAILED_PRECONDITION, EXIT.unavailable, 'run the command again'],
  ['audit.tree_damaged', status.FAILED_PRECONDITION, EXIT.attestation, 'sls admin audit verify'],
  ['licence.limited', status.RESOURCE_EXHAUSTED, EXIT.unavailable, 'wait that long'],
  ['file.denied', status.PERMISSION_DENIED, EXIT.failure, undefined],
  ['file.no_space', status.RESOURCE_EXHAUSTED, EXIT.failure, undefined],
  ['rpc.unavailable', status.UNAVAILABLE, EXIT.unavailable, 'is the service running'],
  ['service.unreachable', status.DEADLINE_EXCEEDED, EXIT.unavailable, 'is the service running'],
])('%s has one exit code and hint', (code, grpcStatus, exitCode, hint) => {
  const error = rpc(code, grpcStatus);
  expect({ exitCode: error.exitCode, code: error.details.code }).toEqual({ exitCode, code });
  if (hint === undefined) expect(error.details.hint).toBeUndefined();
  else expect(error.details.hint).toContain(hint);
});

test.each([
  ['login.of_next_year', status.UNAUTHENTICATED, EXIT.authentication],
  ['login.of_next_year', status.UNAVAILABLE, EXIT.unavailable],
  ['constructor', status.ABORTED, EXIT.unavailable],
  ['__proto__', status.INTERNAL, EXIT.failure],
])('a code that this release does not know (%s) ends by its status %s', (code, grpcStatus, exitCode) => {
  expect(rpc(code as WireCode, grpcStatus)).toMatchObject({ exitCode, details: { code } });
});

test('why the service refused evidence is read from the details, and never from the message', () => {
  const refused = (refusal?: 'policy.software_tpm' | 'identity.client_key'): CliError =>
    toCliError(
      new RpcError('login.evidence_refused', status.FAILED_PRECONDITION, 'its evidence is refused (policy.node)', {
        details: { refusal },
      }),
    );
  expect(refused('policy.software_tpm')).toMatchObject({
    exitCode: EXIT.attestation,
    message: expect.stringContaining('by the login service at step policy') as string,
    details: { code: 'policy.software_tpm', step: 'policy', hint: expect.stringContaining('--software-tpm') as string },
  });
  expect(refused('identity.client_key').details).toEqual({ code: 'identity.client_key', step: 'identity' });
  expect(refused().details).toEqual({ code: 'login.evidence_refused', step: undefined });
});

test('a refused attestation names step and code', () => {
  const error = toCliError(
    new AttestationRefused('login', 'evidence', 'evidence.missing', 'expected evidence, got none'),
  );
  expect(error).toMatchObject({
    exitCode: EXIT.attestation,
    message: 'attestation refused at step evidence (evidence.missing): expected evidence, got none',
    details: { hint: expect.stringContaining('nothing of yours was sent') as string },
  });
});

test("an error's own hint and records come before the table's", () => {
  const error = new LogError('log.forked', 'two logs', 'look at both', { records: { first: 1, last: 2 } });
  expect(toCliError(error)).toMatchObject({
    exitCode: EXIT.attestation,
    details: { code: 'log.forked', hint: 'look at both', records: { first: 1, last: 2 } },
  });
});

test('other errors fail: with a code of the project, of the system, or none', () => {
  const missing = Object.assign(new Error('no such file'), { code: 'ENOENT' });
  expect(toCliError(missing)).toMatchObject({
    exitCode: EXIT.failure,
    code: 'sls.failed',
    details: { code: 'ENOENT' },
  });
  expect(toCliError(new ConfigError('PORT: no'))).toMatchObject({ exitCode: EXIT.failure, code: 'config.invalid' });
  expect(toCliError('text').details.code).toBeUndefined();
});

test('a method that an older service does not know is not named to the user', () => {
  const { message, exitCode, details } = toCliError(
    new RpcError(
      'rpc.unimplemented',
      status.UNIMPLEMENTED,
      'The server does not implement the method /licensing.v1.X/Y',
    ),
  );
  expect({ message, exitCode }).toEqual({
    message: 'the service does not know this command yet: it runs an older release than this sls',
    exitCode: 1,
  });
  expect(details.hint).toContain('update');
});
