import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'proto/gen/', 'coverage/'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // A name that is there to leave its field out of the rest is used.
      '@typescript-eslint/no-unused-vars': ['error', { ignoreRestSiblings: true }],
      'no-restricted-properties': [
        'error',
        {
          object: 'AbortSignal',
          property: 'timeout',
          message: 'collected as garbage below AbortSignal.any; use deadline of runtime/rpc/deadline',
        },
      ],
      eqeqeq: 'error',
    },
  },
  {
    // What comes from outside is decoded strictly, and as a whole: runtime/text/utf8.ts, attestation/bytes/utf8.ts.
    files: ['**/*.ts'],
    ignores: ['test/**', 'bench/**', 'runtime/text/utf8.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'CallExpression[callee.property.name="toString"][arguments.0.value=/^utf-?8$/i], CallExpression[callee.name=/^readFile(Sync)?$/][arguments.1.value=/^utf-?8$/i]',
          message: 'replaces what is no UTF-8 by U+FFFD; use runtime/text/utf8, or attestation/bytes/utf8',
        },
      ],
      'no-restricted-imports': [
        'error',
        {
          paths: [{ name: 'node:stream/consumers', message: 'decodes leniently; use streamText of runtime/text/utf8' }],
        },
      ],
    },
  },
);
