/** Takes what a program has to say of itself, for its operator: fields and a sentence. Never a secret. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  fatal(fields: object, message: string): void;
}

const nothing = (): void => undefined;

/** Says nothing: for who was given no log. */
export const silent: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing, fatal: nothing };
