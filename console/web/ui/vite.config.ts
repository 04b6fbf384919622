import { svelte } from '@sveltejs/vite-plugin-svelte';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

const dist = new URL('../dist/', import.meta.url).pathname;
const api = process.env.SAKIMORI_URL ?? 'http://127.0.0.1:8631';

/** Empties dist/ but for the committed placeholder, so that a build leaves the
 *  tree clean; afterwards writes a .gz and a .br beside each text file. */
function embeddable(): Plugin {
  return {
    name: 'embeddable',
    apply: 'build',
    buildStart() {
      for (const name of readdirSync(dist)) {
        if (name !== 'placeholder.html') rmSync(join(dist, name), { recursive: true });
      }
    },
    closeBundle() {
      for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.(js|css|json|svg)$|^index\.html$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const text = readFileSync(path);
        writeFileSync(path + '.gz', gzipSync(text, { level: 9 }));
        writeFileSync(path + '.br', brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
      }
    },
  };
}

/** `npm run dev` without SAKIMORI_URL runs against the mock. */
function mock(): Plugin {
  return {
    name: 'mock',
    apply: 'serve',
    async configureServer() {
      if (process.env.SAKIMORI_URL || process.env.VITEST) return;
      const { serve } = (await import(new URL('./dev/mock.mjs', import.meta.url).href)) as { serve: (port: number) => void };
      serve(8631);
    },
  };
}

export default defineConfig({
  plugins: [svelte(), embeddable(), mock()],
  // Without the browser condition a component test would get Svelte's server build.
  resolve: process.env.VITEST ? { conditions: ['browser'] } : {},
  build: {
    outDir: '../dist',
    emptyOutDir: false,
    target: 'es2022',
    assetsInlineLimit: 0, // a data: URL would be refused by the policy
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: { host: '127.0.0.1', proxy: Object.fromEntries(['/api', '/session', '/signin', '/version', '/readyz'].map((p) => [p, api])) },
  test: { environment: 'happy-dom', include: ['test/**/*.test.ts'] },
});
