/** Imported before anything that logs: the command line's own log is silent unless asked for, people read its messages instead. */
export const requestedLogLevel = process.env['LOG_LEVEL'];
process.env['LOG_LEVEL'] ??= 'silent';
