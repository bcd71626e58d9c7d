#compdef hull hull-img
# zsh completion for hull and hull-img; see hull.bash.
_hull() {
  local -a candidates given
  given=("${(@)words[2,CURRENT]}")
  [[ $service != hull-img ]] || given=(img "${given[@]}")
  candidates=("${(@f)$(hull complete -- "${given[@]}" 2>/dev/null)}")
  if [[ -n ${candidates[1]-} ]]; then compadd -- "${candidates[@]}"; else _files; fi
}
_hull "$@"
