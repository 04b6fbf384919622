/** Gives the reader a file that was made in the browser. */
export const download = (name: string, text: string): void => {
  const a = document.createElement('a');
  a.href = URL.createObjectURL(new Blob(['\uFEFF', text], { type: 'text/csv;charset=utf-8' }));
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
};
