import type { ServerHttp2Stream } from 'node:http2';
import { status } from '@grpc/grpc-js';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import type { CallEnd, CallObserver } from '../metrics/calls';
import { REASON_KEY } from './errors';
import { onSession, sentStatus } from './http2';

/**
 * Tells an observer of every call, by what went over the wire: also of those that never reached a handler, as a request that is too large.
 * @param server with its port bound
 */
export function observeCalls(server: Server, services: readonly ServiceDefinition[], observer: CallObserver): void {
  const methods = new Set(services.flatMap((definition) => Object.values(definition).map(({ path }) => path)));
  onSession(server, (session) => {
    session.on('stream', (stream, headers) => {
      const method = String(headers[':path']);
      if (!methods.has(method)) return;
      const began = process.hrtime.bigint();
      observer.began(method);
      let over = false;
      const end = (outcome: Omit<CallEnd, 'seconds'>): void => {
        if (over) return;
        over = true;
        observer.ended(method, { ...outcome, seconds: Number(process.hrtime.bigint() - began) / 1e9 });
      };
      // A refusal goes out while the request may still be coming, for as long as its caller likes.
      stream.once('finish', () => {
        const outcome = outcomeOf(stream);
        if (outcome) end(outcome);
      });
      stream.once('close', () => end(outcomeOf(stream) ?? { code: 'CANCELLED' }));
    });
  });
}

function outcomeOf(stream: ServerHttp2Stream): Omit<CallEnd, 'seconds'> | undefined {
  const sent = sentStatus(stream);
  if (sent === undefined) return undefined;
  const reason = sent[REASON_KEY];
  const text = Array.isArray(reason) ? reason[0] : reason;
  return {
    code: status[Number(sent['grpc-status'])] ?? 'UNKNOWN',
    ...(text !== undefined && { reason: String(text) }),
  };
}
