import { status } from '@grpc/grpc-js';
import { CommanderError } from 'commander';
import { CodedError } from '../../errors/coded-error';
import { EvidenceError, PolicyError } from '../../attestation/evidence/errors';
import { RpcError } from '../../runtime/rpc/errors';
import type { LogError } from '../index';
import { AttestationRefused } from '../index';
import { PROXY_VARIABLES } from '../../runtime/rpc/proxy';
import { CliError, EXIT, isSystemError } from './exit';
import { withClocks } from './failures/clock';
import { failureOf } from './failures/table';
import { NOT_SENT } from './failures/verification';

/** Turns whatever a command threw into a message, a hint and an exit code: by its code, from the table in `failures/`. */
export function toCliError(error: unknown): CliError {
  return withClocks(inWords(error), error);
}

function inWords(error: unknown): CliError {
  if (error instanceof CliError) return error;
  if (error instanceof CommanderError)
    return new CliError(error.exitCode === 0 ? EXIT.ok : EXIT.usage, error.message, {}, { cause: error });
  if (error instanceof AttestationRefused || error instanceof EvidenceError || error instanceof PolicyError)
    return fromRefusal(error);
  if (error instanceof RpcError) return fromRpc(error);
  if (error instanceof CodedError) return fromCoded(error);
  if (!(error instanceof Error)) return new CliError(EXIT.failure, thrownText(error));
  const code = isSystemError(error) ? error.code : undefined;
  return new CliError(EXIT.failure, error.message, { code }, { cause: error });
}

/** What libraries throw that is no Error still says something: a name, a number. */
function thrownText(thrown: unknown): string {
  const fields = typeof thrown === 'object' && thrown !== null ? JSON.stringify(thrown) : String(thrown);
  return `something failed that says no more than ${fields}`;
}

function fromCoded(error: CodedError): CliError {
  const { code, message } = error;
  const { exit, hint } = failureOf(code);
  const { hint: own, records } = error as CodedError & Partial<Pick<LogError, 'hint' | 'records'>>;
  return new CliError(EXIT[exit], message, { code, hint: own ?? hint, ...(records && { records }) }, { cause: error });
}

function fromRefusal(error: AttestationRefused | EvidenceError | PolicyError): CliError {
  const { step, code, message } = error;
  const { exit, hint } = failureOf(code);
  return new CliError(
    EXIT[exit],
    // What the list says of the person's own session is not about the enclave.
    exit === 'authentication' ? message : `attestation refused at step ${step} (${code}): ${message}`,
    { code, step, hint },
    { cause: error },
  );
}

function fromRpc(error: RpcError): CliError {
  const { code, grpcStatus, details, message } = error;
  // The login service looks at evidence before its clients do. Which step refused is in the details, the rest in its log.
  if (code === 'login.evidence_refused' || code === 'seat.evidence_refused') {
    const { refusal = code } = details;
    const step = details.refusal?.split('.')[0];
    const { hint } = failureOf(refusal);
    return new CliError(
      EXIT.attestation,
      `attestation refused by the login service${step === undefined ? '' : ` at step ${step}`}: ${message}`,
      // Nobody stands between the service and the enclave by whom this client would be deceived.
      { code: refusal, step, ...(hint !== NOT_SENT && { hint }) },
      { cause: error },
    );
  }
  if (code === 'rpc.unimplemented')
    return new CliError(
      EXIT.failure,
      'the service does not know this command yet: it runs an older release than this sls',
      { code, hint: 'ask your operator to update it, or use the sls of its release' },
      { cause: error },
    );
  const { exit, hint } = failureOf(code, grpcStatus);
  return new CliError(EXIT[exit], inOurWords(message), { code, hint: withProxy(error, hint) }, { cause: error });
}

/** grpc-js says of a connection that could not be made what its parts said. */
function inOurWords(message: string): string {
  const [, reason] =
    /^No connection established\. Last error: (?:Error: )?(.*?)\. Resolution note: /.exec(message) ?? [];
  if (reason === undefined) return message;
  return `no connection could be made${reason === 'undefined' || reason === '' ? '' : `: ${reason}`}`;
}

/** Where nothing answered and a proxy may stand between. */
function withProxy({ code, grpcStatus }: RpcError, hint: string | undefined): string | undefined {
  const variable = PROXY_VARIABLES.find((name) => process.env[name]);
  if (variable === undefined || grpcStatus !== status.UNAVAILABLE || !/^(rpc|connection|service)\./.test(code))
    return hint;
  const proxy = `${variable} names a proxy: does it open tunnels to the service? NO_PROXY names hosts that are reached without it`;
  return hint === undefined ? proxy : `${hint} ${proxy}`;
}
