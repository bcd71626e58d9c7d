#compdef hull
# zsh completion for hull; see hull.bash.
_hull() {
  local -a candidates
  candidates=("${(@f)$(hull complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n ${candidates[1]-} ]]; then compadd -- "${candidates[@]}"; else _files; fi
}
_hull "$@"
