import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';

/**
 * Keeps grpc-js from writing lines of its own to standard error, whatever its variables say: what it says of a connection comes with the call's error as well.
 * Imported for its effect by whatever serves or calls.
 */
setLogVerbosity(logVerbosity.NONE);
