/** The style and the script of the page; nothing in them depends on what is listed. */
import { createHash } from "node:crypto";
import { html } from "../html/html.ts";

/** Columns are fixed, so that the tables of one list align, and each is laid out by itself. */
export const BOM_STYLE = html`
main{max-width:76rem}
.part{content-visibility:auto;contain-intrinsic-size:auto 30rem;overflow-x:auto}
.rows{table-layout:fixed;min-width:40rem;font-size:.875rem}
.rows td{overflow-wrap:anywhere}
.rows th:nth-child(1){width:28%}.rows th:nth-child(2){width:19%}.rows th:nth-child(3){width:23%}
.rows td:nth-child(4):not([class]){font-size:.75rem}
.digest,.source{overflow-wrap:anywhere}
caption{text-align:left;color:var(--soft);font-size:.8rem;padding:.5rem 0 .25rem}
form{margin:1rem 0;padding:.75rem 1rem;background:var(--block);border-radius:6px}
form p{margin:.35rem 0 0}form p:empty{display:none}
label{display:block;font-size:.875rem;font-weight:600}
input{width:100%;font:inherit;padding:.4rem .6rem;margin-top:.25rem;color:var(--ink);background:var(--paper);border:1px solid var(--soft);border-radius:4px}
dt{font-weight:600}dd{margin:0 0 .4rem 1rem}
summary{cursor:pointer;padding:.25rem 0}
[hidden]{display:none!important}
@media screen and (max-width:44rem){main{padding:1rem 1rem 3rem}th,td{padding-right:.6rem}td:first-child{min-width:0}.rows{min-width:0;display:block}.rows caption{display:block}.rows thead{display:none}.rows tbody,.rows tr,.rows td{display:block}.rows td{border:0;padding:0}.rows tr{padding:.4rem 0;border-bottom:1px solid var(--line)}.scroll td:first-child{overflow-wrap:break-word}.scroll td:last-child{font-size:.8rem}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--block:#fff;--link:#000;--warn:#000;--warnbg:#fff}main{max-width:none;padding:0}body{font-size:10pt}form{display:none}.part{content-visibility:visible;overflow:visible}.rows{min-width:0;font-size:8pt}.scroll{overflow:visible}thead{display:table-header-group}tr{break-inside:avoid}h2{break-after:avoid}}
`;

/** Shows only the rows that have all words of the search. */
const CODE = html`
(()=>{
const form=document.getElementById("search"),box=document.getElementById("q"),found=document.getElementById("found");
let parts,timer;
const read=()=>parts??=[...document.querySelectorAll(".part")].map((part)=>({part,rows:[...part.querySelectorAll("tbody tr")].map((row)=>({row,text:row.textContent.toLowerCase()}))}));
const search=()=>{
const words=box.value.toLowerCase().split(/[ \t]+/).filter((it)=>it!=="");
let count=0;
for(const{part,rows}of read()){let here=0;for(const{row,text}of rows){const fits=words.every((it)=>text.includes(it));row.hidden=!fits;if(fits)here++}part.hidden=here===0;count+=here}
found.textContent=words.length===0?"":count===1?"1 row has it":count+" rows have it";
};
box.addEventListener("input",()=>{clearTimeout(timer);timer=setTimeout(search,150)});
form.addEventListener("submit",(event)=>{event.preventDefault();search()});
form.hidden=false;
})();
`;
export const BOM_SCRIPT = html`<script>${CODE}</script>`;

/**
 * The Content-Security-Policy for a page that a bundle brought: its styles, this script and nothing else, in an origin
 * of its own. One that another version of airferry wrote has no search then.
 * @see Content Security Policy Level 3, section 6.3.2 (sandbox)
 */
export const BOM_POLICY = [
  "default-src 'none'",
  "style-src 'unsafe-inline'",
  `script-src 'sha256-${createHash("sha256").update(String(CODE)).digest("base64")}'`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "sandbox allow-scripts",
].join("; ");
