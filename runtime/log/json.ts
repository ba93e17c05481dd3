import pino from 'pino';
import { z } from 'zod';
import { systemClock } from '../clock';
import { currentPlace } from '../traces/place';
import { Lines } from './lines';
import type { Logger } from './log';

/** From the one that tells most to the one that tells nothing. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Settings of every program. */
export const logSettings = z.object({
  LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
});

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
  const context = currentPlace()?.context;
  return context ? { traceId: context.traceId, spanId: context.spanId } : {};
}

/** A program's log: JSON lines on standard error. Nothing ends or fails because they can't be written. */
export function createLogger({ program, level }: { program: string; level: LogLevel }): Logger {
  return pino(
    {
      level,
      base: { program },
      redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]), censor: '[secret]' },
      mixin: place,
      serializers: { err: pino.stdSerializers.err },
    },
    new Lines(2, ({ lines, reason }) => {
      const message = 'log lines could not be written';
      return `${JSON.stringify({ level: 40, time: systemClock.now(), program, lines, reason, msg: message })}\n`;
    }),
  );
}
