import 'uplot/dist/uPlot.min.css';
import './app.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { prefs, theme } from './lib/prefs.svelte';

// Before the first paint, so that nothing flashes.
document.documentElement.dataset.theme = theme();
document.documentElement.lang = prefs.lang;

mount(App, { target: document.getElementById('app')! });
