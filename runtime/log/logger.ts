import pino from 'pino';
import { currentContext } from '../traces/context';

/** Fields that may hold a secret, at any of the depths that we log. */
const SECRET_FIELDS = [
  'password',
  'accessToken',
  'access_token',
  'token',
  'secret',
  'privateKey',
  'credential',
  'authorization',
];

/** Where in a trace a line was written, where it was in one. */
function place(): object {
  const context = currentContext();
  return context ? { traceId: context.traceId, spanId: context.spanId } : {};
}

/** JSON lines on standard error. LOG_LEVEL chooses the level. */
export const logger = pino(
  {
    level: process.env['LOG_LEVEL'] ?? 'info',
    base: { program: process.env['SLS_PROGRAM'] ?? 'sls' },
    redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]), censor: '[secret]' },
    mixin: place,
    serializers: { err: pino.stdSerializers.err },
  },
  pino.destination({ dest: 2, sync: true }),
);
