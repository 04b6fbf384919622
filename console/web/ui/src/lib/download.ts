/** Gives the reader a file that was made in the browser. A table carries the mark
 *  by which a spreadsheet knows UTF-8; what a program reads doesn't. */
export const download = (name: string, text: string, type = 'text/csv'): void => {
  const a = document.createElement('a');
  a.href = URL.createObjectURL(new Blob(type === 'text/csv' ? ['\uFEFF', text] : [text], { type: `${type};charset=utf-8` }));
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
};
